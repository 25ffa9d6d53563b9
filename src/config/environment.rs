//! Settings from the environment: `DOORBUSTER__SECTION__KEY`, the usual names of the database and the broker, and either with `_FILE`
//! behind it for a file that holds the value, as container platforms hand out secrets. Never shows a value.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;

use super::ConfigError;

/// What the names of all our settings begin with.
const PREFIX: &str = "DOORBUSTER__";

/// The usual names, and the settings they stand for.
const USUAL: [(&str, &str); 2] = [("DATABASE_URL", "DOORBUSTER__DATABASE__URL"), ("AMQP_URL", "DOORBUSTER__BROKER__URL")];

/// What a name ends with that leads to a file with the value.
const FILE: &str = "_FILE";

/// The settings that end so by themselves: their value is a file's name. (The first is gone, and says so.)
const NAMES_OF_FILES: [&str; 4] = [
    "DOORBUSTER__AUTH__JWT_PUBLIC_KEY_FILE",
    "DOORBUSTER__PEER__TLS__CA_FILE",
    "DOORBUSTER__PEER__TLS__CERTIFICATE_FILE",
    "DOORBUSTER__PEER__TLS__KEY_FILE",
];

/// What the settings of other issuers begin with, one by one; without the number, all of them in one text.
const ISSUERS: &str = "DOORBUSTER__AUTH__ISSUERS";

/// Those of an issuer that are a file's name. Its secret is none of them: `SECRET_FILE` holds the value, as everywhere.
const NAMES_OF_FILES_OF_ISSUERS: [&str; 3] = ["__CA_FILE", "__JWKS_FILE", "__PUBLIC_KEY_FILE"];

/// What the settings of payment providers begin with, and the one of them that is a file's name.
const PROVIDERS: &str = "DOORBUSTER__PAYMENTS__PROVIDERS__";
const NAME_OF_FILE_OF_PROVIDERS: &str = "__CA_FILE";

/// The one setting that can be set to nothing: so a usual variable of its own is overruled.
const NOTHING_COUNTS: &str = "DOORBUSTER__TELEMETRY__TRACES_ENDPOINT";

/// The largest file that a setting is read from, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A setting as one variable gives it.
struct Given<'a> {
    setting: String,
    variable: &'a str,
    /// The value, or the name of the file that holds it; without the white space around.
    text: &'a str,
    in_file: bool,
}

/// The settings in an environment by their own names, without white space around them. A usual name wins over the other one; an empty
/// variable counts as none.
///
/// # Errors
/// [`ConfigError`] for a file that cannot be read, and for a setting that is given by a file and in another way too.
pub(super) fn settings(environment: &HashMap<String, String>) -> Result<HashMap<String, String>, ConfigError> {
    let mut by_setting: BTreeMap<String, Vec<Given<'_>>> = BTreeMap::new();
    for given in environment.iter().filter_map(|(variable, text)| Given::of(variable, text)) {
        by_setting.entry(given.setting.clone()).or_default().push(given);
    }
    let mut settings = HashMap::new();
    for (setting, given) in by_setting {
        let text = value(given)?;
        // An empty variable is a setting that is not made: it must not hide what a file says.
        if !text.is_empty() || setting == NOTHING_COUNTS {
            settings.insert(setting, text);
        }
    }
    let is_one_by_one = |setting: &String| setting.strip_prefix(ISSUERS).is_some_and(|rest| rest.starts_with("__"));
    if settings.contains_key(ISSUERS) && settings.keys().any(is_one_by_one) {
        return Err(ConfigError(format!("{ISSUERS} has all issuers, and {ISSUERS}__0__NAME and the like are set too: leave out either")));
    }
    Ok(settings)
}

impl<'a> Given<'a> {
    fn of(variable: &'a str, text: &'a str) -> Option<Self> {
        let (name, in_file) = match variable.strip_suffix(FILE) {
            Some(name) if !is_name_of_file(variable) => (name, true),
            _ => (variable, false),
        };
        let usual = USUAL.iter().find(|(usual, _)| *usual == name).map(|(_, setting)| (*setting).to_owned());
        let setting = usual.or_else(|| name.starts_with(PREFIX).then(|| name.to_owned()))?;
        let text = text.trim();
        // No file is named: as compose files pass on what is not set.
        (!in_file || !text.is_empty()).then_some(Self { setting, variable, text, in_file })
    }

    fn is_usual(&self) -> bool {
        !self.variable.starts_with(PREFIX)
    }
}

fn is_name_of_file(variable: &str) -> bool {
    let is_an_issuers = variable.starts_with(ISSUERS) && NAMES_OF_FILES_OF_ISSUERS.iter().any(|name| variable.ends_with(name));
    let is_a_providers = variable.starts_with(PROVIDERS) && variable.ends_with(NAME_OF_FILE_OF_PROVIDERS);
    is_an_issuers || is_a_providers || NAMES_OF_FILES.contains(&variable)
}

/// The one value among what is given for a setting, at least once.
fn value(mut given: Vec<Given<'_>>) -> Result<String, ConfigError> {
    given.sort_by_key(|given| (given.text.is_empty(), !given.is_usual(), given.in_file));
    let [first, rest @ ..] = given.as_slice() else { return Ok(String::new()) };
    let others = rest.iter().filter(|other| !other.text.is_empty() && (other.in_file || first.in_file));
    if let Some(other) = others.min_by_key(|other| other.variable) {
        return Err(ConfigError(format!("{} and {} are both set: leave out one of them", first.variable, other.variable)));
    }
    if first.in_file { read(first) } else { Ok(first.text.to_owned()) }
}

fn read(given: &Given<'_>) -> Result<String, ConfigError> {
    let wrong = |why: &dyn std::fmt::Display| ConfigError(format!("{}: the file {} {why}", given.variable, given.text));
    let unreadable = |error: std::io::Error| wrong(&format_args!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    File::open(given.text).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(&"is larger than 64 KiB"));
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err(wrong(&"is empty")),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(wrong(&"is no text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut found: Vec<_> = settings(&environment).map_err(|error| error.to_string())?.into_iter().collect();
        found.sort();
        Ok(found)
    }

    fn pair(setting: &str, value: &str) -> (String, String) {
        (setting.to_owned(), value.to_owned())
    }

    #[test]
    fn white_space_around_a_value_does_not_count() {
        assert_eq!(found(&[("DOORBUSTER__NODE__ID", " a b\n")]).unwrap(), [pair("DOORBUSTER__NODE__ID", "a b")]);
        assert_eq!(found(&[("HOME", "/"), ("DOORBUSTERS", "1"), ("DOORBUSTER_FILE", "/x")]).unwrap(), []);
    }

    #[test]
    fn a_usual_name_stands_for_a_setting_and_wins_unless_it_is_empty() {
        let other = ("DOORBUSTER__DATABASE__URL", "sqlite:b");
        assert_eq!(found(&[("DATABASE_URL", "sqlite:a\n"), other]).unwrap(), [pair("DOORBUSTER__DATABASE__URL", "sqlite:a")]);
        assert_eq!(found(&[("DATABASE_URL", ""), other]).unwrap(), [pair("DOORBUSTER__DATABASE__URL", "sqlite:b")]);
        assert_eq!(found(&[("AMQP_URL", ""), ("DOORBUSTER__HTTP__WORKERS", " \n")]).unwrap(), []);
        assert_eq!(found(&[(NOTHING_COUNTS, "")]).unwrap(), [pair(NOTHING_COUNTS, "")]);
    }

    #[test]
    fn a_file_holds_the_value_of_any_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "  sesame\r\n").unwrap();
        let path = file.to_str().unwrap();
        for (variable, setting) in [
            ("DATABASE_URL_FILE", "DOORBUSTER__DATABASE__URL"),
            ("AMQP_URL_FILE", "DOORBUSTER__BROKER__URL"),
            ("DOORBUSTER__AUTH__JWT_SECRET_FILE", "DOORBUSTER__AUTH__JWT_SECRET"),
            ("DOORBUSTER__AUTH__JWT_PUBLIC_KEY_FILE_FILE", "DOORBUSTER__AUTH__JWT_PUBLIC_KEY_FILE"),
        ] {
            assert_eq!(found(&[(variable, path)]).unwrap(), [pair(setting, "sesame")], "{variable}");
        }
        let named = ("DOORBUSTER__AUTH__JWT_PUBLIC_KEY_FILE", "/etc/keys.pem");
        assert_eq!(found(&[named]).unwrap(), [pair(named.0, named.1)]);
        let empty = [("DOORBUSTER__AUTH__JWT_SECRET_FILE", ""), ("DOORBUSTER__AUTH__JWT_SECRET", "x")];
        assert_eq!(found(&empty).unwrap(), [pair("DOORBUSTER__AUTH__JWT_SECRET", "x")]);
        let only_file = [("DOORBUSTER__AUTH__JWT_SECRET_FILE", path), ("DOORBUSTER__AUTH__JWT_SECRET", "")];
        assert_eq!(found(&only_file).unwrap(), [pair("DOORBUSTER__AUTH__JWT_SECRET", "sesame")]);
    }

    #[test]
    fn a_file_that_gives_no_value_is_named_in_one_line_with_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(of("blank"), "\n").unwrap();
        std::fs::write(of("binary"), [0xFF, 0xFE]).unwrap();
        std::fs::write(of("large"), vec![b'x'; 64 * 1024 + 1]).unwrap();
        for name in ["missing", "blank", "binary", "large", ""] {
            let refusal = found(&[("AMQP_URL_FILE", &of(name))]).unwrap_err();
            assert!(refusal.contains("AMQP_URL_FILE") && refusal.contains(&of(name)) && !refusal.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn a_setting_from_a_file_and_from_elsewhere_is_refused() {
        for (one, other) in [
            ("DATABASE_URL", "DATABASE_URL_FILE"),
            ("DATABASE_URL_FILE", "DOORBUSTER__DATABASE__URL"),
            ("DATABASE_URL_FILE", "DOORBUSTER__DATABASE__URL_FILE"),
            ("DOORBUSTER__AUTH__JWT_SECRET", "DOORBUSTER__AUTH__JWT_SECRET_FILE"),
        ] {
            let refusal = found(&[(one, "sesame"), (other, "sesame")]).unwrap_err();
            assert!(refusal.contains(one) && refusal.contains(other) && !refusal.contains("sesame"), "{refusal}");
        }
    }
}
