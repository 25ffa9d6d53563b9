//! Claims on article numbers: no two commodities have one on the same. Never says whether a claim is worth something still: that takes the
//! word of the commodity's owner, and whoever asks for it decides.
//!
//! A claim is written before the engine is asked to give a commodity the number, and stays when it has another one later. It says what is
//! needed to find out whether it still counts: how many requests are open under it, the highest version of the commodity that one of them
//! can be carried out in, and the highest that is known to have the number. A claim is taken over only as it was read.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait};
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use super::entity::sku::{ActiveModel, Column, Entity, Model};
use super::statements::{LIST_MAX, pad};
use super::waits::to_the_end;
use super::{Store, StoreError};
use crate::domain::{CommodityId, Sku};

/// A claim as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkuClaim {
    /// On which number.
    pub sku: Sku,
    /// Whose it is.
    pub commodity: CommodityId,
    /// How many requests under it are not known to be over.
    pub open: u64,
    /// The highest version of the commodity that one of those can be carried out in; 0 = it is to be listed with this number.
    pub version: u32,
    /// The highest version of the commodity that is known to have the number; 0 = of none it is known. Who says what the commodity is, and
    /// speaks of an earlier one, was overtaken.
    pub since: u32,
    /// How often it was made.
    claims: i64,
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkuClaimed {
    /// The number is the commodity's, as soon as its engine says so.
    Made,
    /// There is another commodity's claim.
    Of(SkuClaim),
}

impl Store {
    /// Claims a number for a commodity of which that version is about to be changed: in place of another commodity's claim, if that is still
    /// as it was read. Each claim that was made is to be [settled](Self::settle_sku), once it is known what came of the change.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn claim_sku(
        &self,
        sku: &Sku,
        (commodity, version): (CommodityId, u32),
        in_place_of: Option<&SkuClaim>,
    ) -> Result<SkuClaimed, StoreError> {
        let (store, sku, in_place_of) = (self.clone(), sku.clone(), in_place_of.cloned());
        to_the_end(async move {
            let writer = &store.inner.connections.writer;
            if let Some(claim) = in_place_of
                && take_over(writer, &claim, commodity, version).await?
            {
                return Ok(SkuClaimed::Made);
            }
            match Entity::insert(new_claim(&sku, commodity, version)).exec_without_returning(writer).await.map_err(StoreError::from) {
                Ok(_) => return Ok(SkuClaimed::Made),
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
            // Its own from before: of two requests the version of the later one counts.
            let again = Entity::update_many()
                .filter(Column::Sku.eq(sku.as_str()))
                .filter(Column::CommodityId.eq(commodity.get()))
                .col_expr(Column::Version, at_least(Column::Version, version).into())
                .col_expr(Column::Claims, Expr::col(Column::Claims).add(1))
                .col_expr(Column::OpenClaims, Expr::col(Column::OpenClaims).add(1));
            if again.exec(writer).await?.rows_affected > 0 {
                return Ok(SkuClaimed::Made);
            }
            let found = store.sku_claims(std::slice::from_ref(&sku)).await?.pop();
            found.map(SkuClaimed::Of).ok_or_else(|| StoreError::Connect("a claim on a sku came and went".into()))
        })
        .await
    }

    /// Notes that one of the requests under a claim is over: with the version of the commodity that has the number, or with none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn settle_sku(&self, sku: &Sku, commodity: CommodityId, since: Option<u32>) -> Result<(), StoreError> {
        let settled = Entity::update_many()
            .filter(Column::Sku.eq(sku.as_str()))
            .filter(Column::CommodityId.eq(commodity.get()))
            .filter(Column::OpenClaims.gt(0))
            .col_expr(Column::SinceVersion, at_least(Column::SinceVersion, since.unwrap_or(0)).into())
            .col_expr(Column::OpenClaims, Expr::col(Column::OpenClaims).sub(1));
        settled.exec(&self.inner.connections.writer).await?;
        Ok(())
    }

    /// Drops the claims of a commodity that was taken off the list: nothing is carried out on it any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn drop_sku_claims(&self, commodity: CommodityId) -> Result<(), StoreError> {
        Entity::delete_many().filter(Column::CommodityId.eq(commodity.get())).exec(&self.inner.connections.writer).await?;
        Ok(())
    }

    /// The claims there are on these numbers.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn sku_claims(&self, skus: &[Sku]) -> Result<Vec<SkuClaim>, StoreError> {
        claims_on(self.reader(), skus).await
    }
}

/// The claims there are on these numbers.
pub(super) async fn claims_on(connection: &impl ConnectionTrait, skus: &[Sku]) -> Result<Vec<SkuClaim>, StoreError> {
    let mut claims = Vec::new();
    for chunk in skus.chunks(LIST_MAX) {
        let wanted = pad(chunk.iter().map(|sku| sku.as_str().into()).collect());
        let rows = Entity::find().filter(Column::Sku.is_in(wanted)).all(connection).await?;
        for row in rows {
            claims.push(row.claim()?);
        }
    }
    Ok(claims)
}

/// Puts a claim in the place of another, if that is still as it was read; whether it was.
pub(super) async fn take_over(
    connection: &impl ConnectionTrait,
    claim: &SkuClaim,
    commodity: CommodityId,
    version: u32,
) -> Result<bool, StoreError> {
    let taken = Entity::update_many()
        .filter(Column::Sku.eq(claim.sku.as_str()))
        .filter(Column::CommodityId.eq(claim.commodity.get()))
        .filter(Column::Claims.eq(claim.claims))
        .col_expr(Column::CommodityId, commodity.get().into())
        .col_expr(Column::Version, i64::from(version).into())
        .col_expr(Column::SinceVersion, 0i64.into())
        .col_expr(Column::Claims, Expr::col(Column::Claims).add(1))
        .col_expr(Column::OpenClaims, 1i64.into());
    Ok(taken.exec(connection).await?.rows_affected == 1)
}

/// The row of a first claim.
pub(super) fn new_claim(sku: &Sku, commodity: CommodityId, version: u32) -> ActiveModel {
    ActiveModel {
        sku: Set(sku.as_str().to_owned()),
        commodity_id: Set(commodity.get()),
        claims: Set(1),
        open_claims: Set(1),
        version: Set(version.into()),
        since_version: Set(0),
    }
}

/// What a column has, or that version if it is later.
fn at_least(column: Column, version: u32) -> CaseStatement {
    let version = i64::from(version);
    CaseStatement::new().case(Expr::col(column).lt(version), Expr::val(version)).finally(Expr::col(column))
}

impl Model {
    fn claim(self) -> Result<SkuClaim, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("skus of {}", self.commodity_id));
        Ok(SkuClaim {
            sku: self.sku.parse().map_err(|_| corrupt())?,
            commodity: CommodityId::new(self.commodity_id).map_err(|_| corrupt())?,
            open: u64::try_from(self.open_claims).map_err(|_| corrupt())?,
            version: u32::try_from(self.version).map_err(|_| corrupt())?,
            since: u32::try_from(self.since_version).map_err(|_| corrupt())?,
            claims: self.claims,
        })
    }
}
