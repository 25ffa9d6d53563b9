//! Payment providers: `[payments]` and `[payments.providers.NAME]`; and the one to try with: `[sandbox]`. Never asks a provider anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::{Address, ConfigError};
use crate::payments::ProviderName;
use crate::payments::provider::{Scheme, Settings};
use crate::payments::webhook::{SECRETS_MAX, Verifier};

/// Providers at most: the one that new payments go to, and those that older ones went to.
const PROVIDERS_MAX: usize = 16;

/// The word for no provider at all, where there would be one by itself.
const NONE: &str = "none";

/// The longest that one question may take, in milliseconds.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// Questions to one provider at the same time, at most.
const IN_FLIGHT_MAX: usize = 1_000;

/// The largest file that a secret is read from, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Who takes the money.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payments {
    /// Whom new payments go to: a name of `providers`, or `none`. None: the sandbox in the embedded mode, nobody in a cluster.
    #[serde(default)]
    pub provider: Option<String>,
    /// All that payments went to, by their names.
    #[serde(default)]
    pub providers: BTreeMap<ProviderName, PaymentProvider>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentProvider {
    /// How it is spoken to.
    #[serde(deserialize_with = "scheme")]
    pub scheme: Scheme,
    /// What its paths follow.
    pub url: String,
    /// What we show it.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// A file that holds that secret; read once, at the start.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// What its messages are signed with: any of these, so that they can be rotated.
    #[serde(default, deserialize_with = "secrets")]
    pub webhook_secrets: Vec<SecretString>,
    /// A file that holds those secrets, one a line; read once, at the start.
    #[serde(default)]
    pub webhook_secrets_file: Option<PathBuf>,
    /// Where buyers go after they have paid, unless they say so themselves. `{order_id}` in it is the order's.
    #[serde(default)]
    pub return_url: Option<String>,
    /// How long one question may take, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Questions at the same time, at most.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// The PEM certificates of the authorities that `url` is checked against, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether `url` may be plain HTTP to another machine.
    #[serde(default)]
    pub allow_plain_http: bool,
}

const fn timeout_ms() -> u64 {
    5_000
}

const fn in_flight_max() -> usize {
    64
}

/// The provider to try with, where it is a process of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// Where it listens. Port 0 = any free port.
    pub listen: Address,
    /// Its books. None: `sandbox/sandbox.sqlite` in the data folder.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// What browsers reach it by. None: where it listens.
    #[serde(default)]
    pub public_url: Option<String>,
    /// Where its messages go; `none`: nowhere.
    #[serde(default)]
    pub webhook_url: Option<String>,
}

impl Payments {
    /// The name of the provider that new payments go to; none if that is left open, or there is to be none.
    #[must_use]
    pub fn chosen(&self) -> Option<&ProviderName> {
        let chosen = self.provider.as_deref()?;
        self.providers.keys().find(|name| name.as_str() == chosen)
    }

    /// Whether nobody said whom payments go to.
    #[must_use]
    pub fn is_left_open(&self) -> bool {
        self.provider.is_none()
    }

    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        let wrong = |what: String| ConfigError(format!("payments.{what}"));
        self.provider = self.provider.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        if self.providers.len() > PROVIDERS_MAX {
            return Err(wrong(format!("providers: at most {PROVIDERS_MAX} are taken")));
        }
        for (name, provider) in &mut self.providers {
            if name.as_str() == NONE {
                return Err(wrong("providers: `none` is the word for no provider: choose another name".to_owned()));
            }
            provider.settle().map_err(|why| wrong(format!("providers.{name}: {why}")))?;
        }
        match self.provider.as_deref() {
            None | Some(NONE) => Ok(()),
            Some(_) if self.chosen().is_some() => Ok(()),
            Some(name) => Err(wrong(format!("provider is {name:?}, and there is no [payments.providers.{name}]"))),
        }
    }
}

impl PaymentProvider {
    /// How it is asked.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            scheme: self.scheme,
            url: self.url.clone(),
            secret: self.secret.clone().unwrap_or_else(|| SecretString::from(String::new())),
            timeout: Duration::from_millis(self.timeout_ms),
            in_flight_max: self.in_flight_max,
            ca_file: self.ca_file.clone(),
        }
    }

    /// Reads what is in files, and checks all of it.
    fn settle(&mut self) -> Result<(), String> {
        self.url = self.url.trim().trim_end_matches('/').to_owned();
        self.return_url = self.return_url.as_deref().map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned);
        for path in [&mut self.secret_file, &mut self.webhook_secrets_file, &mut self.ca_file] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        let secret = self.secret.as_ref().map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
        self.secret = match (secret, &self.secret_file) {
            (Some(_), Some(_)) => return Err("secret and secret_file are both set: leave out one of them".to_owned()),
            (None, None) => return Err("secret or secret_file is needed: what the provider knows us by".to_owned()),
            (Some(secret), None) => Some(SecretString::from(secret)),
            (None, Some(file)) => Some(SecretString::from(text(file)?)),
        };
        if let Some(file) = &self.webhook_secrets_file {
            if !self.webhook_secrets.is_empty() {
                return Err("webhook_secrets and webhook_secrets_file are both set: leave out one of them".to_owned());
            }
            self.webhook_secrets = super::list::items(&text(file)?).map(SecretString::from).collect();
        }
        if !(1..=SECRETS_MAX).contains(&self.webhook_secrets.len()) {
            return Err(format!("webhook_secrets must have 1 to {SECRETS_MAX} secrets: what the provider signs its messages with"));
        }
        Verifier::new(self.scheme, &self.webhook_secrets).map_err(|why| format!("webhook_secrets: {why}"))?;
        self.check_urls()?;
        if !(1..=TIMEOUT_MS_MAX).contains(&self.timeout_ms) {
            return Err(format!("timeout_ms must be 1 to {TIMEOUT_MS_MAX}"));
        }
        if !(1..=IN_FLIGHT_MAX).contains(&self.in_flight_max) {
            return Err(format!("in_flight_max must be 1 to {IN_FLIGHT_MAX}"));
        }
        Ok(())
    }

    fn check_urls(&self) -> Result<(), String> {
        let no_url = || "url is no URL like https://api.example.com".to_owned();
        let uri: Uri = self.url.parse().map_err(|_| no_url())?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("url has a name or a password in it, which are not sent: use secret".to_owned());
        }
        if uri.query().is_some() {
            return Err("url has a query in it, and paths are to follow".to_owned());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.ca_file.is_some() => return Err("ca_file goes with an https url".to_owned()),
            Some("http") if self.allow_plain_http || uri.host().is_some_and(super::issuers::is_loopback) => {}
            Some("http") => {
                return Err(
                    "whoever is between us and a url of plain HTTP can take the secret: use https, or set allow_plain_http".to_owned()
                );
            }
            _ => return Err(no_url()),
        }
        match &self.return_url {
            Some(url) if !is_page(&url.replace("{order_id}", "0")) => Err("return_url is no http or https URL".to_owned()),
            None if self.scheme == Scheme::Stripe => Err("return_url is needed: where buyers go from Stripe's page".to_owned()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Sandbox {
    pub(super) fn settle(&mut self) -> Result<(), ConfigError> {
        for text in [&mut self.public_url, &mut self.webhook_url] {
            *text = text
                .as_deref()
                .map(|url| url.trim().trim_end_matches('/'))
                .filter(|url| !url.is_empty() && *url != NONE)
                .map(str::to_owned);
        }
        self.file.take_if(|file| file.as_os_str().is_empty());
        for (setting, url) in [("public_url", &self.public_url), ("webhook_url", &self.webhook_url)] {
            if url.as_deref().is_some_and(|url| !is_page(url)) {
                return Err(ConfigError(format!("sandbox.{setting} is no http or https URL")));
            }
        }
        Ok(())
    }
}

/// Whether a browser can be sent there.
#[must_use]
pub fn is_page(url: &str) -> bool {
    let is_url = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("https" | "http")) && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    url.len() <= 2_000 && url.bytes().all(|byte| byte.is_ascii_graphic()) && url.parse::<Uri>().is_ok_and(|uri| is_url(&uri))
}

fn text(file: &Path) -> Result<String, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("the file {} {why}", file.display());
    let bytes = std::fs::read(file).map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(wrong(&"is larger than 64 KiB"));
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err(wrong(&"is empty")),
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(wrong(&"is no text")),
    }
}

fn scheme<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scheme, D::Error> {
    let word = String::deserialize(deserializer)?;
    Scheme::ALL.into_iter().find(|scheme| scheme.word() == word).ok_or_else(|| D::Error::custom("a scheme is standard or stripe"))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretString>, D::Error> {
    super::list::list::<D, String>(deserializer).map(|texts| texts.into_iter().map(SecretString::from).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(text: &str) -> Result<super::Payments, String> {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(Some(file.path()), std::collections::HashMap::new()).map(|config| config.payments).map_err(|error| error.to_string())
    }

    fn with(more: &str) -> Result<super::Payments, String> {
        read(&format!("[payments]\nprovider = \"acme\"\n[payments.providers.acme]\n{more}"))
    }

    #[test]
    fn nobody_takes_money_unless_somebody_says_who() {
        let payments = read("").unwrap();
        assert!(payments.is_left_open() && payments.chosen().is_none());
        assert!(!read("[payments]\nprovider = \"none\"\n").unwrap().is_left_open());
        assert!(read("[payments]\nprovider = \"acme\"\n").unwrap_err().contains("[payments.providers.acme]"));
    }

    #[test]
    fn a_provider_is_read_from_variables_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets");
        std::fs::write(&file, format!("{SECRET}\n{SECRET}\n")).unwrap();
        let variables = [
            ("PROVIDER", "stripe"),
            ("PROVIDERS__STRIPE__SCHEME", "stripe"),
            ("PROVIDERS__STRIPE__URL", "https://api.stripe.com/"),
            ("PROVIDERS__STRIPE__SECRET", " sk_test_1\n"),
            ("PROVIDERS__STRIPE__RETURN_URL", "https://shop.example/thanks?order={order_id}"),
            ("PROVIDERS__STRIPE__TIMEOUT_MS", "900"),
            ("PROVIDERS__STRIPE__WEBHOOK_SECRETS_FILE", file.to_str().unwrap()),
        ];
        let variables = variables.map(|(name, value)| (format!("DOORBUSTER__PAYMENTS__{name}"), value.to_owned()));
        let payments = Config::read(None, variables.into_iter().collect()).unwrap().payments;
        let provider = &payments.providers[payments.chosen().unwrap()];
        assert_eq!((provider.url.as_str(), provider.timeout_ms, provider.webhook_secrets.len()), ("https://api.stripe.com", 900, 2));
    }

    #[test]
    fn what_is_wrong_with_a_provider_is_said_in_one_line_without_its_secrets() {
        let good = format!("scheme = \"standard\"\nurl = \"https://a.example\"\nsecret = \"sesame\"\nwebhook_secrets = [\"{SECRET}\"]\n");
        assert!(with(&good).is_ok());
        for (from, to, words) in [
            ("scheme = \"standard\"", "scheme = \"paypal\"", "standard or stripe"),
            ("scheme = \"standard\"", "", "scheme"),
            ("scheme = \"standard\"", "scheme = \"stripe\"", "return_url is needed"),
            ("https://a.example", "a.example", "url is no URL"),
            ("https://a.example", "http://a.example", "allow_plain_http"),
            ("https://a.example", "https://u:sesame@a.example", "a name or a password"),
            ("https://a.example", "https://a.example?x=1", "a query"),
            ("secret = \"sesame\"", "", "secret or secret_file is needed"),
            ("secret = \"sesame\"", "secret = \"sesame\"\nsecret_file = \"/x\"", "both set"),
            ("secret = \"sesame\"", "secret_file = \"/nowhere/sesame-file\"", "cannot be read"),
            (SECRET, "whsec_sesame", "Base64"),
            (SECRET, "", "webhook_secrets must have 1 to 8"),
            ("secret = ", "return_url = \"javascript:x\"\nsecret = ", "return_url is no http"),
            ("secret = ", "timeout_ms = 0\nsecret = ", "timeout_ms"),
            ("secret = ", "in_flight_max = 0\nsecret = ", "in_flight_max"),
            ("secret = ", "colour = 1\nsecret = ", "colour"),
        ] {
            let told = with(&good.replacen(from, to, 1)).unwrap_err();
            assert!(told.contains(words) && !told.contains('\n') && !told.replace("/nowhere/sesame-file", "").contains("sesame"), "{told}");
        }
        assert!(read("[payments.providers.\"Not a name\"]\nscheme = \"stripe\"\n").is_err());
    }
}
