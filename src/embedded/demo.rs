//! The demo sale and its accounts, made on a first run with an empty database. Never touches a database that has a
//! commodity or an account, and has no built-in password.

use std::collections::BTreeMap;
use std::path::Path;

use rand::distr::{Alphanumeric, SampleString};

use crate::admin;
use crate::auth::{Hasher, Password};
use crate::clock;
use crate::datadir::DataDir;
use crate::domain::{Cancellation, Price, Terms, Timestamp, Units};
use crate::process::{Accounts, StartError, Unserved};
use crate::routing::Router;
use crate::store::{Role, Store};

/// Units in the demo sale.
const UNITS: i64 = 1_000;
/// A year, in milliseconds: how long the demo sale lasts.
const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Letters of a demo password: 119 bits.
const PASSWORD_LETTERS: usize = 20;
/// The demo's accounts and passwords, in the data folder.
pub(super) const ACCOUNTS_FILE: &str = "demo-accounts.txt";

/// Who can log in to the demo.
const ACCOUNTS: [(&str, Role); 2] = [("demo-admin", Role::Admin), ("demo-buyer", Role::Buyer)];

/// What there is of the demo.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demo {
    /// Whether it was made just now.
    pub(super) made_now: bool,
    /// Whether its accounts are there, with fresh tokens in the data folder.
    pub(super) has_accounts: bool,
}

/// Makes the demo on a first run with an empty database, and writes fresh tokens for its accounts, if it is to have some.
pub(super) async fn prepare(process: &Unserved<'_>, data: &DataDir, with_accounts: bool) -> Result<Demo, StartError> {
    let Unserved { store, router, accounts: Accounts { authenticator, hasher } } = process;
    let accounts = if with_accounts { &ACCOUNTS[..] } else { &[] };
    let made_now = make_if_empty((store, router), hasher, data, accounts).await?;
    let mut has_accounts = false;
    for (name, _) in accounts {
        if let Some(account) = store.account_by_name(name).await? {
            // The account's role, not the demo's: an operator may have changed it, or somebody else have the name.
            let token = authenticator.mint_for_account(&account, clock::system());
            data.write_private(&format!("{name}.token"), &token)?;
            has_accounts = true;
        }
    }
    Ok(Demo { made_now, has_accounts })
}

/// Makes the demo if the database is empty; whether it did.
///
/// Passwords are written first and the commodity is listed last, so that a first run that was killed is finished by the
/// next one, with the passwords it had shown.
async fn make_if_empty(
    (store, router): (&Store, &Router),
    hasher: &Hasher,
    data: &DataDir,
    accounts: &[(&'static str, Role)],
) -> Result<bool, StartError> {
    let begun = data.path().join(ACCOUNTS_FILE).exists();
    let listed_before = !store.commodities(None, 1, true).await?.is_empty();
    if listed_before || !(begun || store.accounts(None, 1).await?.is_empty()) {
        return Ok(false);
    }
    for (name, role, word) in passwords(data, accounts)? {
        if store.account_by_name(name).await?.is_none() {
            let password = word.parse::<Password>().map_err(|error| StartError::Demo(error.to_string()))?;
            let hash = hasher.hash(password).await.map_err(|error| StartError::Demo(error.to_string()))?;
            store.create_account(name, &hash, role, clock::system()).await?;
        }
    }
    let commodity = store.next_commodity_id().await?;
    let offer = (terms(clock::system()), Units::new(UNITS).expect("in range"));
    // Whether now or by a run that was killed: it is written down.
    store.reserve_listings(commodity, vec![offer], BTreeMap::new(), None).await?;
    admin::list_what_is_due(router, store).await?;
    match router.board().walk(None).next() {
        Some(_) => Ok(true),
        None => Err(StartError::Demo("its partition does not take it".into())),
    }
}

/// The accounts with their passwords: those of the file, or new ones, which are in the file when this returns.
fn passwords(data: &DataDir, accounts: &[(&'static str, Role)]) -> Result<Vec<(&'static str, Role, String)>, StartError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let written = std::fs::read_to_string(data.path().join(ACCOUNTS_FILE)).unwrap_or_default();
    let word_of = |name: &str| written.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    let fresh = || Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LETTERS);
    let all: Vec<_> = accounts.iter().map(|(name, role)| (*name, *role, word_of(name).unwrap_or_else(fresh))).collect();
    let lines: String = all.iter().map(|(name, _, word)| format!("{name} {word}\n")).collect();
    data.write_private(ACCOUNTS_FILE, &format!("# Accounts of the demo: POST /v1/auth/login\n{lines}"))?;
    Ok(all)
}

/// The file in the data folder with a fresh token of a demo account.
pub(super) fn token_file(data: &Path, account: &str) -> std::path::PathBuf {
    data.join(format!("{account}.token"))
}

fn terms(now: Timestamp) -> Terms {
    Terms {
        sku: "LAMP-01".parse().ok(),
        name: "Brass desk lamp".into(),
        description: "The demo sale: a thousand lamps of solid brass, two to a buyer. Whoever is first has one.".into(),
        image_url: None,
        price: Price::new(4_999).expect("in range"),
        currency: "EUR".parse().expect("the euro is a currency"),
        limit_per_user: Some(2),
        hold_seconds: None,
        grace_seconds: Terms::GRACE_SECONDS,
        cancellation: Cancellation::Unpaid,
        starts_at: now,
        ends_at: now.plus_millis(YEAR_MS),
    }
}
