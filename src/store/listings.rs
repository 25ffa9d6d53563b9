//! Commodities that are written down to be listed, whatever becomes of whoever wrote them down. Never lists one: an engine does.
//!
//! One transaction writes all of them with the claims on their numbers. From then on they will be listed, by this process or by another.

use std::collections::BTreeMap;

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Value};

use super::entity::{listing, sku};
use super::meta::read_log_version;
use super::skus::{claims_on, new_claim, take_over};
use super::statements::{LIST_MAX, pad, padded, places};
use super::waits::to_the_end;
use super::{SkuClaim, Store, StoreError, pool};
use crate::domain::{CommodityId, Sku, Terms, Timestamp, Units};
use crate::event::LogVersion;

/// Rows of one INSERT. SQLite takes 32,766 values.
const ROWS_MAX: usize = 200;

/// A commodity that will be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueListing {
    /// The id that was given for it.
    pub commodity: CommodityId,
    /// Its terms.
    pub terms: Terms,
    /// Its units.
    pub total: Units,
}

impl DueListing {
    /// Offers with ids that follow each other, of which the first was drawn, and as many more.
    ///
    /// # Panics
    /// When there are no such ids.
    #[must_use]
    pub fn with_ids_from(first: CommodityId, offers: Vec<(Terms, Units)>) -> Vec<Self> {
        let ids = (first.get()..).map(|id| CommodityId::new(id).expect("the ids behind it were drawn too"));
        ids.zip(offers).map(|(commodity, (terms, total))| Self { commodity, terms, total }).collect()
    }
}

/// What came of writing commodities down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// They will be listed.
    Due(Vec<DueListing>),
    /// Nothing was written: there are other claims on some of the numbers, or those that were to be replaced are not as they were.
    Claimed(Vec<SkuClaim>),
    /// Nothing was written: processes of an older release may still run.
    OlderReleases,
}

/// A file of commodities that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import {
    /// The id of its first commodity; the others follow it.
    pub first: CommodityId,
    /// How many there are.
    pub commodities: u32,
    /// Of those, how many are listed.
    pub listed: u32,
    /// When it was taken.
    pub created_at: Timestamp,
}

impl Store {
    /// Writes commodities down to be listed, all or none, with ids from `first` on, which were drawn for them, and claims their numbers: those
    /// in `in_place_of` in place of the claims there. With a time they are an import, whose id is that of the first.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn reserve_listings(
        &self,
        first: CommodityId,
        offers: Vec<(Terms, Units)>,
        in_place_of: BTreeMap<Sku, SkuClaim>,
        import_at: Option<Timestamp>,
    ) -> Result<Reserved, StoreError> {
        let store = self.clone();
        to_the_end(async move { store.reserve(first, offers, &in_place_of, import_at).await }).await
    }

    async fn reserve(
        &self,
        first: CommodityId,
        offers: Vec<(Terms, Units)>,
        in_place_of: &BTreeMap<Sku, SkuClaim>,
        import_at: Option<Timestamp>,
    ) -> Result<Reserved, StoreError> {
        let is_usual = offers.iter().all(|(terms, _)| terms.grace_seconds == Terms::GRACE_SECONDS);
        if read_log_version(self.reader()).await? < (if is_usual { LogVersion::V4 } else { LogVersion::V5 }) {
            return Ok(Reserved::OlderReleases);
        }
        let due = DueListing::with_ids_from(first, offers);
        let transaction = self.begin_write().await?;
        match self.write_listings(&transaction, &due, in_place_of, import_at).await {
            Ok(true) => {
                transaction.commit().await?;
                return Ok(Reserved::Due(due));
            }
            Ok(false) => transaction.rollback().await?,
            Err(error) => {
                transaction.rollback().await?;
                if !error.is_refusal() {
                    return Err(error);
                }
            }
        }
        Ok(Reserved::Claimed(self.others(&due).await?))
    }

    /// Whether every claim could be made.
    async fn write_listings(
        &self,
        transaction: &pool::Transaction,
        due: &[DueListing],
        in_place_of: &BTreeMap<Sku, SkuClaim>,
        import_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut claims: Vec<(&Sku, CommodityId)> = due.iter().filter_map(|due| Some((due.terms.sku.as_ref()?, due.commodity))).collect();
        // Two that claim the same numbers wait for each other in one order.
        claims.sort_unstable();
        let mut first_claims = Vec::with_capacity(claims.len());
        for (sku, commodity) in claims {
            match in_place_of.get(sku) {
                Some(claim) if !take_over(transaction, claim, commodity, 0).await? => return Ok(false),
                Some(_) => {}
                None => first_claims.push(new_claim(sku, commodity, 0)),
            }
        }
        for rows in chunks(first_claims) {
            sku::Entity::insert_many(rows).exec_without_returning(transaction).await?;
        }
        for rows in chunks(due.iter().map(row).collect()) {
            listing::Entity::insert_many(rows).exec_without_returning(transaction).await?;
        }
        if let (Some(at), Some(first)) = (import_at, due.first()) {
            let sql = "INSERT INTO imports (id, commodities, created_at) VALUES (?, ?, ?)";
            let count = i32::try_from(due.len()).map_err(|_| StoreError::Corrupt("an import of too many commodities".into()))?;
            let values = [first.commodity.get().into(), count.into(), at.millis().into()];
            transaction.execute_raw(self.statement(sql, values)).await?;
        }
        Ok(true)
    }

    /// The claims of others on these numbers.
    async fn others(&self, due: &[DueListing]) -> Result<Vec<SkuClaim>, StoreError> {
        let skus: Vec<Sku> = due.iter().filter_map(|due| due.terms.sku.clone()).collect();
        claims_on(self.reader(), &skus).await
    }

    /// Commodities that are to be listed and are not known to be, by rising id, at most so many, after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn due_listings(&self, after: Option<CommodityId>, limit: u64) -> Result<Vec<DueListing>, StoreError> {
        let rows = listing::Entity::find()
            .filter(listing::Column::CommodityId.gt(after.map_or(0, CommodityId::get)))
            .order_by_asc(listing::Column::CommodityId)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter().map(listing::Model::due).collect()
    }

    /// Whether that commodity is to be listed and is not known to be.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn is_due(&self, commodity: CommodityId) -> Result<bool, StoreError> {
        Ok(listing::Entity::find_by_id(commodity.get()).count(self.reader()).await? > 0)
    }

    /// Notes that commodities are listed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_listed(&self, commodities: &[CommodityId]) -> Result<(), StoreError> {
        for chunk in commodities.chunks(LIST_MAX) {
            let sql = format!("DELETE FROM listings WHERE commodity_id IN ({})", places(padded(chunk.len())));
            let ids: Vec<Value> = pad(chunk.iter().map(|id| id.get().into()).collect());
            // Before the rows are gone: whoever looks for them next finds all of it to do. Listed once, they are not listed again.
            let settled =
                format!("UPDATE skus SET open_claims = 0 WHERE version = 0 AND commodity_id IN ({})", places(padded(chunk.len())));
            self.inner.connections.writer.execute_raw(self.statement(&settled, ids.clone())).await?;
            self.inner.connections.writer.execute_raw(self.statement(&sql, ids)).await?;
        }
        Ok(())
    }

    /// Which of these commodities have a row, removed ones too, of at most 256.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn commodities_with_rows(&self, commodities: &[CommodityId]) -> Result<Vec<CommodityId>, StoreError> {
        let sql = format!("SELECT id FROM commodities WHERE id IN ({})", places(padded(commodities.len())));
        let ids: Vec<Value> = pad(commodities.iter().map(|id| id.get().into()).collect());
        let rows = self.reader().query_all_raw(self.statement(&sql, ids)).await?;
        let id = |id: i64| CommodityId::new(id).map_err(|_| StoreError::Corrupt("commodities.id".into()));
        rows.iter().map(|row| id(row.try_get_by_index(0)?)).collect()
    }

    /// An import, by the id of its first commodity.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn import(&self, first: CommodityId) -> Result<Option<Import>, StoreError> {
        let sql = "SELECT i.commodities, i.created_at, (SELECT COUNT(*) FROM listings l \
                   WHERE l.commodity_id >= i.id AND l.commodity_id < i.id + i.commodities) FROM imports i WHERE i.id = ?";
        let Some(row) = self.reader().query_one_raw(self.statement(sql, [first.get().into()])).await? else { return Ok(None) };
        let (commodities, created_at, due): (i32, i64, i64) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let corrupt = || StoreError::Corrupt(format!("import {first}"));
        let listed = i64::from(commodities) - due;
        Ok(Some(Import {
            first,
            commodities: u32::try_from(commodities).map_err(|_| corrupt())?,
            listed: u32::try_from(listed).map_err(|_| corrupt())?,
            created_at: Timestamp::from_millis(created_at).map_err(|_| corrupt())?,
        }))
    }
}

/// Rows in pieces that fit a statement.
fn chunks<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || Some(rows.by_ref().take(ROWS_MAX).collect::<Vec<T>>()).filter(|piece| !piece.is_empty()))
}

fn row(due: &DueListing) -> listing::ActiveModel {
    let DueListing { commodity, terms, total } = due;
    let column = |count: u32| i32::try_from(count).expect("counts of terms fit 31 bits");
    listing::ActiveModel {
        commodity_id: Set(commodity.get()),
        sku: Set(terms.sku.as_ref().map(|sku| sku.as_str().to_owned())),
        name: Set(terms.name.clone()),
        description: Set(terms.description.clone()),
        image_url: Set(terms.image_url.clone()),
        price: Set(terms.price.minor()),
        currency: Set(terms.currency.code().to_owned()),
        limit_per_user: Set(terms.limit_per_user.map(column)),
        hold_seconds: Set(terms.hold_seconds.map(column)),
        grace_seconds: Set(column(terms.grace_seconds)),
        cancellation: Set(terms.cancellation.code().into()),
        starts_at: Set(terms.starts_at.millis()),
        ends_at: Set(terms.ends_at.millis()),
        total: Set((*total).into()),
    }
}
