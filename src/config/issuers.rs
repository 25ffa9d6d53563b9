//! Other issuers of tokens: `[[auth.issuers]]`. In the environment they are one JSON array (`DOORBUSTER__AUTH__ISSUERS`), or a variable for
//! each setting (`DOORBUSTER__AUTH__ISSUERS__0__NAME`, ...). Never reads a key: who verifies tokens does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use actix_web::http::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::ConfigError;
use crate::domain::IssuerName;

/// Issuers at most: their claims' names are looked for in every foreign token.
const ISSUERS_MAX: usize = 32;

/// The most that one list of an issuer holds.
const ITEMS_MAX: usize = 64;

/// The most that clocks may be apart, in seconds.
const LEEWAY_SECONDS_MAX: u64 = 300;

/// The longest that a withdrawn key may stay in force, in seconds: a day.
const REFRESH_SECONDS_MAX: u64 = 86_400;

/// The longest name of a claim, in bytes, and the most dots in it.
const CLAIM_BYTES_MAX: usize = 255;
const CLAIM_DOTS_MAX: usize = 16;

/// Another issuer whose tokens are taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What we call it: the beginning of its users' ids.
    #[serde(deserialize_with = "parsed")]
    pub name: IssuerName,
    /// The `iss` of its tokens, to the letter.
    pub issuer: String,
    /// The audiences of which its tokens must name one. None: they must name none.
    #[serde(default, deserialize_with = "texts")]
    pub audience: Vec<String>,
    /// Where a token says its audience.
    #[serde(default = "audience_claim")]
    pub audience_claim: String,
    /// Where its keys (JWKS) are fetched.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The PEM certificates of the authorities that `jwks_url` is checked against, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether `jwks_url` may be plain HTTP to another machine.
    #[serde(default)]
    pub allow_plain_http: bool,
    /// A file with its keys (JWKS); read anew when it changes.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// A file with its keys (PEM); read anew when it changes.
    #[serde(default)]
    pub public_key_file: Option<PathBuf>,
    /// The secret that it shares with us.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// A file that holds that secret; read once, at the start.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The algorithms that are taken. None: all that its keys fit; of a secret HS256.
    #[serde(default, deserialize_with = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Where a token says who its user is.
    #[serde(default = "subject_claim")]
    pub subject_claim: String,
    /// Where a token says its user's roles. None: all are buyers.
    #[serde(default)]
    pub role_claim: Option<String>,
    /// The roles there that are `admin` here.
    #[serde(default, deserialize_with = "texts")]
    pub admin_values: Vec<String>,
    /// Those that are `operator`.
    #[serde(default, deserialize_with = "texts")]
    pub operator_values: Vec<String>,
    /// Those that are `service`.
    #[serde(default, deserialize_with = "texts")]
    pub service_values: Vec<String>,
    /// How far the issuer's clock may be off, in seconds.
    #[serde(default)]
    pub leeway_seconds: u64,
    /// How often `jwks_url` is asked, in seconds.
    #[serde(default = "refresh_seconds")]
    pub refresh_seconds: u64,
}

fn audience_claim() -> String {
    "aud".to_owned()
}

fn subject_claim() -> String {
    "sub".to_owned()
}

const fn refresh_seconds() -> u64 {
    60
}

impl Issuer {
    /// An empty text is none, and white space around a secret does not count.
    fn tidy(&mut self) {
        let secret = self.secret.as_ref().map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
        self.secret = secret.map(SecretString::from);
        for text in [&mut self.jwks_url, &mut self.role_claim] {
            *text = text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        }
        for path in [&mut self.ca_file, &mut self.jwks_file, &mut self.public_key_file, &mut self.secret_file] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.issuer.is_empty() {
            return Err("issuer must not be empty: it is the iss of its tokens".to_owned());
        }
        let sources = [
            self.jwks_url.is_some(),
            self.jwks_file.is_some(),
            self.public_key_file.is_some(),
            self.secret.is_some(),
            self.secret_file.is_some(),
        ];
        if sources.iter().filter(|is_set| **is_set).count() != 1 {
            return Err("exactly one of jwks_url, jwks_file, public_key_file, secret and secret_file is needed".to_owned());
        }
        self.check_url()?;
        self.check_algorithms()?;
        let claims = [("subject_claim", &self.subject_claim), ("audience_claim", &self.audience_claim)];
        for (setting, claim) in claims.into_iter().chain(self.role_claim.as_ref().map(|claim| ("role_claim", claim))) {
            let is_claim = (1..=CLAIM_BYTES_MAX).contains(&claim.len()) && claim.matches('.').count() <= CLAIM_DOTS_MAX;
            if !is_claim {
                return Err(format!("{setting} must be 1 to {CLAIM_BYTES_MAX} bytes with at most {CLAIM_DOTS_MAX} dots"));
            }
        }
        let roles =
            [("admin_values", &self.admin_values), ("operator_values", &self.operator_values), ("service_values", &self.service_values)];
        if let Some((setting, _)) = roles.iter().chain(&[("audience", &self.audience)]).find(|(_, list)| list.len() > ITEMS_MAX) {
            return Err(format!("{setting} has more than {ITEMS_MAX} items"));
        }
        if self.role_claim.is_none()
            && let Some((setting, _)) = roles.iter().find(|(_, values)| !values.is_empty())
        {
            return Err(format!("{setting} is set and role_claim is not: where does a token say its roles?"));
        }
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            return Err(format!("leeway_seconds must be at most {LEEWAY_SECONDS_MAX}"));
        }
        if !(1..=REFRESH_SECONDS_MAX).contains(&self.refresh_seconds) {
            return Err(format!("refresh_seconds must be 1 to {REFRESH_SECONDS_MAX}"));
        }
        Ok(())
    }

    fn check_url(&self) -> Result<(), String> {
        let Some(url) = &self.jwks_url else {
            return if self.ca_file.is_some() { Err("ca_file goes with an https jwks_url".to_owned()) } else { Ok(()) };
        };
        let uri: Uri = url.parse().map_err(|_| "jwks_url is no URL like https://issuer.example/jwks.json".to_owned())?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.contains('@') {
            return Err("jwks_url has a name or a password in it, which are not sent".to_owned());
        }
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.ca_file.is_some() => Err("ca_file goes with an https jwks_url".to_owned()),
            Some("http") if self.allow_plain_http || uri.host().is_some_and(is_loopback) => Ok(()),
            Some("http") => {
                Err("whoever is between us and a jwks_url of plain HTTP can make tokens: use https, or set allow_plain_http".to_owned())
            }
            _ => Err("jwks_url is no URL like https://issuer.example/jwks.json".to_owned()),
        }
    }

    fn check_algorithms(&self) -> Result<(), String> {
        let is_shared = self.secret.is_some() || self.secret_file.is_some();
        let wrong = self.algorithms.iter().find(|algorithm| (algorithm.family() == AlgorithmFamily::Hmac) != is_shared);
        match wrong {
            None => Ok(()),
            Some(algorithm) if is_shared => Err(format!("algorithms: {algorithm:?} needs a public key, not a secret")),
            Some(algorithm) => Err(format!("algorithms: {algorithm:?} needs a secret, not a public key")),
        }
    }
}

/// What holds of all issuers together; each is tidied first.
pub(super) fn check(issuers: &mut [Issuer], own: Option<&str>) -> Result<(), ConfigError> {
    if issuers.len() > ISSUERS_MAX {
        return Err(ConfigError(format!("auth.issuers: at most {ISSUERS_MAX} are taken")));
    }
    for issuer in issuers.iter_mut() {
        issuer.tidy();
        let name = issuer.name.clone();
        issuer.check().map_err(|problem| ConfigError(format!("auth.issuers: {name}: {problem}")))?;
    }
    for (index, issuer) in issuers.iter().enumerate() {
        let name = &issuer.name;
        if own == Some(&issuer.issuer) {
            return Err(ConfigError(format!("auth.issuers: {name}: its issuer is auth.issuer, which is our own: whose tokens are these?")));
        }
        if issuers[..index].iter().any(|other| other.name == *name) {
            return Err(ConfigError(format!("auth.issuers: {name}: two issuers have this name")));
        }
        let shares = |other: &&Issuer| {
            let is_same = other.audience.is_empty() && issuer.audience.is_empty();
            other.issuer == issuer.issuer && (is_same || other.audience.iter().any(|audience| issuer.audience.contains(audience)))
        };
        if let Some(other) = issuers[..index].iter().find(shares) {
            return Err(ConfigError(format!("auth.issuers: {name} and {} have the same issuer and audience", other.name)));
        }
    }
    Ok(())
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// For `#[serde(deserialize_with)]`: all issuers, however they are written.
pub(super) fn issuers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Issuer>, D::Error> {
    deserializer.deserialize_any(Issuers)
}

struct Issuers;

impl<'de> Visitor<'de> for Issuers {
    type Value = Vec<Issuer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("issuers: [[auth.issuers]], or a JSON array of objects")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<Issuer>, E> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        // Without what was found there: that may be a secret.
        serde_json::from_str::<Vec<Issuer>>(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data if !error.to_string().starts_with("invalid type") => {
                E::custom(format!("auth.issuers: {error}"))
            }
            _ => E::custom(format!("auth.issuers: no JSON array of issuers at line {} column {}", error.line(), error.column())),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<Issuer>, A::Error> {
        let mut issuers = Vec::new();
        while let Some(issuer) = array.next_element()? {
            issuers.push(issuer);
        }
        Ok(issuers)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut numbered: A) -> Result<Vec<Issuer>, A::Error> {
        let mut issuers = BTreeMap::new();
        while let Some(key) = numbered.next_key::<String>()? {
            let number: u16 = key.parse().map_err(|_| A::Error::custom(format!("auth.issuers: {key:?} is no number of an issuer")))?;
            issuers.insert(number, numbered.next_value()?);
        }
        Ok(issuers.into_values().collect())
    }
}

/// What is read from one text.
fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|why| D::Error::custom(format!("{text:?}: {why}")))
}

/// The algorithms, by the names that tokens have for them.
fn algorithms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Algorithm>, D::Error> {
    let names = texts(deserializer)?;
    let algorithm = |name: &String| match name.as_str() {
        // Its name in RFC 9864.
        "Ed25519" => Ok(Algorithm::EdDSA),
        name => name.parse().map_err(|_| D::Error::custom(format!("algorithms: {name:?} is none that is known here"))),
    };
    names.iter().map(algorithm).collect()
}

/// One text, several with commas between them, or an array of texts, each taken as it is: the name of a group may have commas.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text, or an array of texts")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(super::list::items(text).collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = array.next_element::<String>()? {
                texts.push(text);
            }
            texts.retain(|text| !text.is_empty());
            Ok(texts)
        }
    }

    deserializer.deserialize_any(Texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<Issuer>, String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(None, environment).map(|config| config.auth.issuers).map_err(|error| error.to_string())
    }

    /// One issuer of the environment, with these settings more.
    fn with(more: &str) -> Result<Issuer, String> {
        let text = format!(r#"[{{"name":"shop","issuer":"https://issuer.example"{more}}}]"#);
        read(&[("DOORBUSTER__AUTH__ISSUERS", &text)]).map(|mut issuers| issuers.remove(0))
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let issuer = with(r#","jwks_url":"https://issuer.example/jwks""#).unwrap();
        assert_eq!((issuer.name.as_str(), &*issuer.subject_claim, &*issuer.audience_claim), ("shop", "sub", "aud"));
        assert_eq!((issuer.leeway_seconds, issuer.refresh_seconds, issuer.role_claim), (0, 60, None));
        assert!(issuer.audience.is_empty() && issuer.algorithms.is_empty() && issuer.admin_values.is_empty());
        assert!(read(&[]).unwrap().is_empty() && read(&[("DOORBUSTER__AUTH__ISSUERS", " ")]).unwrap().is_empty());
    }

    #[test]
    fn the_environment_has_all_in_one_text_or_a_variable_for_each_setting() {
        let text =
            r#"[{"name":"a","issuer":"A","audience":["x","y"],"jwks_file":"/a"},{"name":"b","issuer":"B","audience":"x,y","secret":"s"}]"#;
        let at_once = read(&[("DOORBUSTER__AUTH__ISSUERS", text)]).unwrap();
        let one_by_one = read(&[
            ("DOORBUSTER__AUTH__ISSUERS__1__SECRET", " s\n"),
            ("DOORBUSTER__AUTH__ISSUERS__1__NAME", "b"),
            ("DOORBUSTER__AUTH__ISSUERS__1__ISSUER", "B"),
            ("DOORBUSTER__AUTH__ISSUERS__1__AUDIENCE", "x, y"),
            ("DOORBUSTER__AUTH__ISSUERS__1__LEEWAY_SECONDS", ""),
            ("DOORBUSTER__AUTH__ISSUERS__0__NAME", "a"),
            ("DOORBUSTER__AUTH__ISSUERS__0__ISSUER", "A"),
            ("DOORBUSTER__AUTH__ISSUERS__0__AUDIENCE", "x,y"),
            ("DOORBUSTER__AUTH__ISSUERS__0__JWKS_FILE", "/a"),
        ])
        .unwrap();
        for issuers in [at_once, one_by_one] {
            let [a, b] = issuers.as_slice() else { panic!("{issuers:?}") };
            assert_eq!((a.name.as_str(), a.jwks_file.as_deref()), ("a", Some("/a".as_ref())));
            assert_eq!((&a.audience, &b.audience), (&vec!["x".to_owned(), "y".to_owned()], &a.audience));
            assert_eq!(b.secret.as_ref().unwrap().expose_secret(), "s");
        }
        let both = read(&[("DOORBUSTER__AUTH__ISSUERS", text), ("DOORBUSTER__AUTH__ISSUERS__0__NAME", "a")]).unwrap_err();
        assert!(both.contains("leave out either"), "{both}");
    }

    #[test]
    fn a_secret_of_the_environment_may_lie_in_a_file_and_so_may_all_issuers() {
        let folder = tempfile::tempdir().unwrap();
        let (secret, all) = (folder.path().join("secret"), folder.path().join("all"));
        std::fs::write(&secret, "sesame\n").unwrap();
        std::fs::write(&all, r#"[{"name":"a","issuer":"A","secret":"sesame"}]"#).unwrap();
        let one_by_one = read(&[
            ("DOORBUSTER__AUTH__ISSUERS__0__NAME", "a"),
            ("DOORBUSTER__AUTH__ISSUERS__0__ISSUER", "A"),
            ("DOORBUSTER__AUTH__ISSUERS__0__SECRET_FILE", secret.to_str().unwrap()),
        ]);
        for issuers in [one_by_one, read(&[("DOORBUSTER__AUTH__ISSUERS_FILE", all.to_str().unwrap())])] {
            assert_eq!(issuers.unwrap()[0].secret.as_ref().unwrap().expose_secret(), "sesame");
        }
    }

    #[test]
    fn a_mistake_is_one_line_that_names_the_issuer() {
        let url = r#","jwks_url":"https://issuer.example/jwks""#;
        for (more, words) in [
            (String::new(), "exactly one of"),
            (format!(r#"{url},"secret":"s""#), "exactly one of"),
            (r#","jwks_url":"""#.to_owned(), "exactly one of"),
            (r#","jwks_url":"issuer.example/jwks""#.to_owned(), "no URL"),
            (r#","jwks_url":"ftp://issuer.example/jwks""#.to_owned(), "no URL"),
            (r#","jwks_url":"http://issuer.example/jwks""#.to_owned(), "allow_plain_http"),
            (r#","jwks_url":"http://127.0.0.1.example/jwks""#.to_owned(), "allow_plain_http"),
            (r#","jwks_url":"https://me:sesame@issuer.example/jwks""#.to_owned(), "a password"),
            (r#","jwks_url":"http://[::1]/jwks","ca_file":"/ca.pem""#.to_owned(), "ca_file"),
            (r#","secret":"s","ca_file":"/ca.pem""#.to_owned(), "ca_file"),
            (format!(r#"{url},"algorithms":["HS256"]"#), "needs a secret"),
            (r#","secret":"s","algorithms":["RS256"]"#.to_owned(), "needs a public key"),
            (format!(r#"{url},"algorithms":["none"]"#), "\"none\""),
            (format!(r#"{url},"admin_values":["admin"]"#), "role_claim is not"),
            (format!(r#"{url},"leeway_seconds":301"#), "leeway_seconds"),
            (format!(r#"{url},"refresh_seconds":0"#), "refresh_seconds"),
            (format!(r#"{url},"subject_claim":"""#), "subject_claim"),
            (format!(r#"{url},"role_claim":"{}""#, "a.".repeat(17)), "role_claim"),
            (format!(r#"{url},"audiences":["x"]"#), "audiences"),
        ] {
            let told = with(&more).unwrap_err();
            assert!(told.contains(words) && !told.contains('\n') && !told.contains("sesame"), "{more}: {told}");
        }
        for more in
            [r#","jwks_url":"http://127.0.0.1:1/jwks""#, r#","jwks_url":"http://[::1]/jwks""#, r#","jwks_url":"http://localhost/jwks""#]
        {
            assert!(with(more).is_ok(), "{more}");
        }
        assert!(with(r#","jwks_url":"http://issuer.example/jwks","allow_plain_http":true"#).is_ok());
    }

    #[test]
    fn issuers_are_told_apart() {
        let issuer = |name: &str, issuer: &str, audience: &str| {
            format!(r#"{{"name":"{name}","issuer":"{issuer}","audience":"{audience}","jwks_file":"/k"}}"#)
        };
        let both = |one: String, other: String| {
            read(&[("DOORBUSTER__AUTH__ISSUER", "ours"), ("DOORBUSTER__AUTH__ISSUERS", &format!("[{one},{other}]"))])
        };
        assert!(both(issuer("a", "A", "x"), issuer("b", "A", "y")).is_ok());
        assert!(both(issuer("a", "A", ""), issuer("b", "A", "y")).is_ok());
        for (one, other, words) in [
            (issuer("a", "A", "x"), issuer("a", "B", "x"), "two issuers have this name"),
            (issuer("a", "A", "x"), issuer("b", "A", "y,x"), "the same issuer and audience"),
            (issuer("a", "A", ""), issuer("b", "A", ""), "the same issuer and audience"),
            (issuer("a", "A", "x"), issuer("b", "ours", "x"), "our own"),
            (issuer("a", "", "x"), issuer("b", "B", "x"), "issuer must not be empty"),
            (issuer("Shop", "A", "x"), issuer("b", "B", "x"), "an issuer's name"),
        ] {
            let told = both(one, other).unwrap_err();
            assert!(told.contains(words) && !told.contains('\n'), "{told}");
        }
        let many: Vec<String> = (0..33).map(|number| issuer(&format!("i{number}"), &format!("{number}"), "x")).collect();
        assert!(read(&[("DOORBUSTER__AUTH__ISSUERS", &format!("[{}]", many.join(",")))]).unwrap_err().contains("at most 32"));
    }

    #[test]
    fn a_text_that_is_no_list_of_issuers_shows_nothing_of_itself() {
        for text in [
            "sesame",
            r#"{"secret":"sesame"}"#,
            r#"["sesame"]"#,
            r#"[{"name":"a","issuer":"A","secret":["sesame"]}]"#,
            r#"[{"secret":"sesame"#,
        ] {
            let told = read(&[("DOORBUSTER__AUTH__ISSUERS", text)]).unwrap_err();
            assert!(!told.contains("sesame") && !told.contains('\n') && told.contains("issuers"), "{told}");
        }
    }

    #[test]
    fn the_setting_that_is_gone_says_what_to_write() {
        let told = read(&[("DOORBUSTER__AUTH__JWT_PUBLIC_KEY_FILE", "/etc/keys.pem")]).unwrap_err();
        assert!(
            told.contains("[[auth.issuers]]") && told.contains("public_key_file = \"/etc/keys.pem\"") && !told.contains('\n'),
            "{told}"
        );
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), "[auth]\njwt_public_key_file = \"/etc/keys.pem\"\n").unwrap();
        let told = Config::read(Some(file.path()), std::collections::HashMap::new()).unwrap_err().to_string();
        assert!(told.contains("[[auth.issuers]]"), "{told}");
    }
}
