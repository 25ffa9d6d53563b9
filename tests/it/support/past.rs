//! What becomes of a sale that is over: audited, sealed, archived.

use doorbuster::clock;
use doorbuster::domain::{CommodityId, Timestamp};
use doorbuster::store::{AuditScope, Slice, Store};

/// Seals what can be sealed. Returns how many commodities that were.
pub async fn seal(store: &Store) -> u64 {
    let audit = store.audit_of(AuditScope::Unsealed).await.expect("the database is there");
    store.seal(&audit, clock::system()).await.expect("the database is there")
}

/// Archives what is sealed, in slices of so many rows. Returns how many orders that were.
pub async fn archive(store: &Store, rows: u64) -> u64 {
    let (mut moved, mut after) = (0, None);
    loop {
        let found = store.archivable(Timestamp::MAX, after, 10).await.expect("the database is there");
        for commodity in &found {
            moved += archive_commodity(store, commodity.id, rows).await;
        }
        after = found.last().map(|commodity| commodity.id);
        if after.is_none() {
            return moved;
        }
    }
}

async fn archive_commodity(store: &Store, id: CommodityId, rows: u64) -> u64 {
    let mut moved = 0;
    loop {
        match store.archive_slice(id, rows).await.expect("the database is there") {
            Slice::Moved(count) => moved += count,
            Slice::Last(count) => return moved + count,
            Slice::NotSealed => return moved,
        }
    }
}
