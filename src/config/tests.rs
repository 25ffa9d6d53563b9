//! What settings are taken, refused and said. Never reads the environment of the process.

use secrecy::ExposeSecret;

use super::*;

fn read(settings: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::read(None, settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn a_file_that_cannot_be_read_is_one_line_and_shows_nothing_of_it() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    for text in ["[auth]\njwt_secret = sesame-open\n", "[database]\nurl = \"mysql://u:sesame-open@h\n"] {
        std::fs::write(file.path(), text).unwrap();
        let told = Config::read(Some(file.path()), HashMap::new()).unwrap_err().to_string();
        assert!(!told.contains('\n') && !told.contains("sesame"), "{told}");
        assert!(told.contains("line 2") && told.contains(file.path().file_name().unwrap().to_str().unwrap()), "{told}");
    }
}

#[test]
fn a_secret_of_digits_is_taken_as_it_is() {
    let digits = "1234567890123456789012345678901234567890";
    let config = read(&[("DOORBUSTER__AUTH__JWT_SECRET", digits), ("DOORBUSTER__NODE__ID", "007")]).unwrap();
    assert_eq!(config.auth.jwt_secret.unwrap().expose_secret(), digits);
    assert_eq!(config.node.id, "007");
}

#[test]
fn secrets_and_urls_are_taken_without_the_line_end_of_the_file_they_came_from() {
    let secret = "a secret that is long enough for tests";
    let config = read(&[
        ("DOORBUSTER__AUTH__JWT_SECRET", &format!("{secret}\n")),
        ("DATABASE_URL", " sqlite:a.db\n"),
        ("AMQP_URL", "amqp://h\r\n"),
        ("DOORBUSTER__AUTH__INTERNAL_SECRET", "\n"),
        ("DOORBUSTER__AUTH__ISSUER", ""),
        ("DOORBUSTER__NODE__INTERNAL_ADVERTISE", ""),
        ("DOORBUSTER__HTTP__WORKERS", ""),
    ]);
    let config = config.unwrap();
    assert_eq!(config.auth.jwt_secret.unwrap().expose_secret(), secret);
    assert_eq!(config.database.url.unwrap().expose_secret(), "sqlite:a.db");
    assert_eq!(config.broker.url.unwrap().expose_secret(), "amqp://h");
    assert!(config.auth.internal_secret.is_none() && config.auth.issuer.is_none() && config.node.internal_advertise.is_none());
}

#[test]
fn settings_of_every_kind_are_read_from_texts() {
    let config = read(&[
        ("DOORBUSTER__HTTP__WORKERS", "3"),
        ("DOORBUSTER__LIMITS__ENABLED", "FALSE"),
        ("DOORBUSTER__TELEMETRY__TRACES_RATIO", "1"),
        ("DOORBUSTER__TELEMETRY__FORMAT", "json"),
        ("DOORBUSTER__BROKER__VHOST", "007"),
        ("DOORBUSTER__HTTP__LISTEN", "localhost:0"),
        ("DOORBUSTER__NODE__INTERNAL_LISTEN", "[::1]:8090"),
    ]);
    let config = config.unwrap();
    assert_eq!((config.http.workers, config.limits.enabled, config.telemetry.traces_ratio), (3, false, 1.0));
    assert_eq!((config.telemetry.format, config.broker.vhost.as_deref()), (LogFormat::Json, Some("007")));
    assert_eq!((config.http.listen.to_string(), config.node.internal_listen.to_string()), ("localhost:0".into(), "[::1]:8090".into()));
    for (name, value, said) in [
        ("DOORBUSTER__HTTP__WORKERS", "many", "workers"),
        ("DOORBUSTER__LIMITS__ENABLED", "maybe", "enabled"),
        ("DOORBUSTER__HTTP__LISTEN", "8080", "HOST:PORT"),
        ("DOORBUSTER__HTTP__TRUSTED_PROXIES", "10.0.0.0/33", "10.0.0.0/33"),
    ] {
        let refusal = read(&[(name, value)]).unwrap_err().to_string();
        assert!(refusal.contains(said) && !refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn a_list_of_networks_is_taken_however_it_is_written() {
    let proxies = |text: &str| read(&[("DOORBUSTER__HTTP__TRUSTED_PROXIES", text)]).unwrap().http.trusted_proxies;
    let written = |text: &str| proxies(text).iter().map(ToString::to_string).collect::<Vec<_>>();
    for text in ["", " ", ",", "\n"] {
        assert_eq!(written(text), [""; 0], "{text:?}");
    }
    assert_eq!(written("10.0.0.0/8"), ["10.0.0.0/8"]);
    assert_eq!(written("10.0.0.1"), ["10.0.0.1/32"]);
    assert_eq!(written(" 10.0.0.1 , 172.16.0.0/12,\n2001:db8::/32,::1, "), ["10.0.0.1/32", "172.16.0.0/12", "2001:db8::/32", "::1/128"]);
    assert_eq!(written("::ffff:10.0.0.0/104"), ["10.0.0.0/8"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("doorbuster.toml");
    for list in ["[\"10.0.0.0/8\", \"::1\"]", "\"10.0.0.0/8, ::1\""] {
        std::fs::write(&file, format!("[http]\ntrusted_proxies = {list}\n")).unwrap();
        assert_eq!(Config::read(Some(&file), HashMap::new()).unwrap().http.trusted_proxies.len(), 2, "{list}");
    }
}

#[test]
fn origins_are_a_list_too_and_a_wrong_one_is_named() {
    let origins = |text: &str| read(&[("DOORBUSTER__HTTP__CORS_ORIGINS", text)]).map(|config| config.http.cors_origins);
    assert_eq!(origins("https://a.example, http://localhost:3000,").unwrap().len(), 2);
    assert_eq!(origins("*").unwrap(), [Origin::Any]);
    assert_eq!(origins("").unwrap(), []);
    assert!(origins("https://a.example,b.example").unwrap_err().to_string().contains("\"b.example\""));
}

#[test]
fn what_no_memory_holds_is_refused_by_name() {
    for name in ["DOORBUSTER__PARTITION__INBOX_DEPTH_MAX", "DOORBUSTER__PARTITION__BATCH_COMMANDS_MAX", "DOORBUSTER__HTTP__WORKERS"] {
        let refusal = read(&[(name, "9223372036854775807")]).unwrap_err().to_string();
        assert!(refusal.ends_with("must be at most 1000000"), "{name}: {refusal}");
    }
}

#[test]
fn a_setting_nobody_knows_is_refused() {
    assert!(read(&[("DOORBUSTER__HTTP__LISTN", "127.0.0.1:1")]).unwrap_err().to_string().contains("listn"));
    assert!(read(&[("DOORBUSTERS", "1"), ("HOME", "/")]).is_ok());
}

#[test]
fn the_names_of_opentelemetry_say_where_spans_go_and_ours_wins() {
    let endpoint = |settings: &[(&str, &str)]| read(settings).map(|config| config.telemetry.traces_endpoint);
    let (all, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    assert_eq!(endpoint(&[]).unwrap(), None);
    assert_eq!(endpoint(&[(all, "")]).unwrap(), None);
    assert_eq!(endpoint(&[(traces, " http://b/x\n")]).unwrap().unwrap(), "http://b/x");
    assert_eq!(endpoint(&[(all, "http://a:4318/")]).unwrap().unwrap(), "http://a:4318/v1/traces");
    assert_eq!(endpoint(&[(all, "http://a:4318"), (traces, "http://b/x")]).unwrap().unwrap(), "http://b/x");
    let ours = ("DOORBUSTER__TELEMETRY__TRACES_ENDPOINT", "http://c/v1/traces");
    assert_eq!(endpoint(&[(all, "http://a:4318"), ours]).unwrap().unwrap(), "http://c/v1/traces");
    assert_eq!(endpoint(&[(all, "http://a:4318"), (ours.0, "")]).unwrap(), None, "switched off");
}

#[test]
fn a_ratio_that_is_none_is_refused_and_a_place_for_spans_is_the_tracers_to_judge() {
    assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")]).is_ok());
    for ratio in ["-0.1", "1.5"] {
        assert!(read(&[("DOORBUSTER__TELEMETRY__TRACES_RATIO", ratio)]).unwrap_err().to_string().contains("traces_ratio"));
    }
}
