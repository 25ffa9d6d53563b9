//! The demo sale and its accounts, made on a first run with an empty database. Never touches a database that has a
//! commodity or an account, and has no built-in password.

use std::path::Path;

use rand::distr::{Alphanumeric, SampleString};

use super::StartError;
use crate::auth::{Hasher, Password};
use crate::clock;
use crate::datadir::DataDir;
use crate::domain::{Price, Terms, Timestamp, Units};
use crate::engine::Command;
use crate::routing::{Reply, Router};
use crate::store::{Role, Store};

/// Units in the demo sale.
const UNITS: i64 = 1_000;
/// A year, in milliseconds: how long the demo sale lasts.
const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

/// Who can log in to the demo.
pub(super) const ACCOUNTS: [(&str, Role); 2] = [("demo-admin", Role::Admin), ("demo-buyer", Role::Buyer)];

/// Makes the demo if the database is empty; whether it did.
pub(super) async fn make_if_empty(store: &Store, router: &Router, hasher: &Hasher, data: &DataDir) -> Result<bool, StartError> {
    if !router.board().all().is_empty() || !store.accounts(None, 1).await?.is_empty() {
        return Ok(false);
    }
    let commodity = store.next_commodity_id().await?;
    let list = Command::List { commodity, terms: Box::new(terms(clock::system())), total: Units::new(UNITS).expect("in range") };
    match router.about_commodity(commodity, list).await {
        Reply::Done(_) => {}
        other => return Err(StartError::Demo(format!("{other:?}"))),
    }
    let mut lines = String::from("# Accounts of the demo: POST /v1/auth/login\n");
    for (name, role) in ACCOUNTS {
        let word = Alphanumeric.sample_string(&mut rand::rng(), 20);
        let password = word.parse::<Password>().expect("20 letters are a password");
        let hash = hasher.hash(password).await.map_err(|error| StartError::Demo(error.to_string()))?;
        store.create_account(name, &hash, role, clock::system()).await?;
        lines.push_str(&format!("{name} {word}\n"));
    }
    data.write_private("demo-accounts.txt", &lines)?;
    Ok(true)
}

/// The file in the data folder with a fresh token of a demo account.
pub(super) fn token_file(data: &Path, account: &str) -> std::path::PathBuf {
    data.join(format!("{account}.token"))
}

fn terms(now: Timestamp) -> Terms {
    Terms {
        name: "Brass desk lamp".into(),
        description: "The demo sale: a thousand lamps, two to a buyer.".into(),
        image_url: None,
        price: Price::new(4_999).expect("in range"),
        currency: "EUR".parse().expect("the euro is a currency"),
        limit_per_user: Some(2),
        hold_seconds: None,
        starts_at: now,
        ends_at: now.plus_millis(YEAR_MS),
    }
}
