//! Reads of the server's database, through the library that wrote it. Never writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use doorbuster::config::Config;
use doorbuster::domain::{CommodityId, Epoch, NamedOrder, Order, OrderId, Sequence};
use doorbuster::embedded;
use doorbuster::history::{CommodityRow, OrderRow, Rows};
use doorbuster::ring::partition_of;
use doorbuster::store::{AuditRow, AuditScope, OrderFilter, Store};

use crate::audit::{Audit, Counters, Row, Sale, Told};

/// Order rows read at a time.
const PAGE: u64 = 1000;

/// A connected database.
#[derive(Debug)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    /// Connects to the database of a server with this configuration and data folder.
    ///
    /// # Errors
    /// If there is none, or not of this release.
    pub async fn open(config: &Config, data: &Path) -> anyhow::Result<Self> {
        Ok(Self { store: embedded::open_existing(config, data).await? })
    }

    /// Every order row of a commodity.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn rows(&self, commodity: CommodityId) -> anyhow::Result<Vec<Row>> {
        let row = |NamedOrder { order, .. }: &NamedOrder| {
            let Order { id, user, quantity, status, .. } = *order;
            Row { order: id, user, quantity: i64::from(quantity), live: status.is_live() }
        };
        Ok(self.orders(commodity).await?.iter().map(row).collect())
    }

    /// The rows of a commodity that was put on sale with so many units, as a history is held against them.
    ///
    /// # Errors
    /// If the database does not answer, or does not have the commodity.
    pub async fn history_rows(&self, commodity: CommodityId, listed: i64) -> anyhow::Result<Rows> {
        let keys: BTreeMap<OrderId, _> = self.store.keys_of(commodity).await?.into_iter().collect();
        let row = |named: NamedOrder| {
            let Order { id, quantity, status, .. } = named.order;
            let user = named.buyer().with_context(|| format!("nobody says who placed order {id}"))?;
            anyhow::Ok(OrderRow { id, commodity, user, quantity, key: keys.get(&id).copied(), status })
        };
        let Counters { total, available, held, sold } = self.counters(commodity).await?;
        Ok(Rows {
            orders: self.orders(commodity).await?.into_iter().map(row).collect::<anyhow::Result<_>>()?,
            commodities: vec![CommodityRow { id: commodity, listed, total, available, held, sold }],
        })
    }

    async fn orders(&self, commodity: CommodityId) -> anyhow::Result<Vec<NamedOrder>> {
        let filter = OrderFilter { commodity: Some(commodity), ..OrderFilter::default() };
        let mut orders = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.orders(&filter, before, PAGE).await?;
            let is_full = page.len() as u64 == PAGE;
            before = page.last().map(|last| last.order.id);
            orders.extend(page);
            if !is_full {
                return Ok(orders);
            }
        }
    }

    /// The counters of a commodity.
    ///
    /// # Errors
    /// If the database does not answer, or does not have it.
    pub async fn counters(&self, commodity: CommodityId) -> anyhow::Result<Counters> {
        let audit = self.store.audit_of(AuditScope::One(commodity)).await?;
        let row = audit.rows.first().with_context(|| format!("commodity {commodity} is not in the database"))?;
        Ok(Counters { total: row.total, available: row.available, held: row.held, sold: row.sold })
    }

    /// The units of a commodity that orders have taken, none before the commodity is there. One row is read, so it may be
    /// asked often.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn taken(&self, commodity: CommodityId) -> anyhow::Result<i64> {
        let stock = self.store.commodity(commodity).await?.map(|stored| stored.commodity.stock);
        Ok(stock.map_or(0, |stock| i64::from(stock.held.get()) + i64::from(stock.sold.get())))
    }

    /// Which node claimed a commodity's partition last; none in the embedded mode.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn owner(&self, commodity: CommodityId) -> anyhow::Result<Option<String>> {
        let partition = partition_of(commodity, self.store.partitions());
        Ok(self.store.partition_rows().await?.into_iter().find(|row| row.id == partition).and_then(|row| row.owner))
    }

    /// How far the projection of each partition is: epoch and sequence, in the order of the partitions.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn applied(&self) -> anyhow::Result<Vec<(Epoch, Sequence)>> {
        Ok(self.store.partition_rows().await?.into_iter().map(|row| row.applied).collect())
    }

    /// The equation of every commodity that is not sealed: what `doorbuster audit` checks.
    ///
    /// # Errors
    /// If the database does not answer, or a commodity does not balance.
    pub async fn all_balance(&self) -> anyhow::Result<()> {
        let audit = self.store.audit_of(AuditScope::Unsealed).await?;
        let wrong: Vec<AuditRow> = audit.rows.into_iter().filter(|row| !row.balanced).collect();
        if !wrong.is_empty() {
            bail!("commodities that do not balance: {wrong:?}");
        }
        Ok(())
    }

    /// Holds what buyers were told against the database, again and again until nothing is wrong or the bound is over:
    /// a projection may be behind for a while.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn audit(&self, commodity: CommodityId, sale: Sale, told: &Told, bound: Duration) -> anyhow::Result<Audit> {
        let began = Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            let audit = Audit::of(sale, told, &self.rows(commodity).await?, self.counters(commodity).await?);
            if audit.is_clean() || began.elapsed() >= bound {
                return Ok(audit);
            }
        }
    }

    /// Closes the connections.
    ///
    /// # Errors
    /// If the database does not let go.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.store.close().await?)
    }
}
