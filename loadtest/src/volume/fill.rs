//! What a database is filled with, as somebody asks for it. Never writes a row.

use doorbuster::domain::{PartitionId, Partitions};

/// What to fill a database with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fill {
    /// Orders of commodities that are on sale.
    pub live: u64,
    /// So many commodities, on sale whether they have orders or not; at least 1.
    pub commodities: u32,
    /// Orders of commodities whose sale is over.
    pub over: u64,
    /// So many commodities, at least 1; none are listed if they would have no orders.
    pub over_commodities: u32,
    /// The partition of all commodities; none = spread evenly over all.
    pub partition: Option<PartitionId>,
    /// Of a hundred orders, so many are placed under a key.
    pub keyed_percent: u8,
    /// Of a hundred orders, so many are cancelled.
    pub cancelled_percent: u8,
    /// So many of the live orders are one buyer's.
    pub regular: u64,
}

impl Fill {
    /// The same commodities on sale, and not one order.
    #[must_use]
    pub const fn emptied(self) -> Self {
        Self { live: 0, over: 0, regular: 0, ..self }
    }

    /// All orders.
    #[must_use]
    pub const fn orders(&self) -> u64 {
        self.live + self.over
    }

    /// The partition of each commodity, those on sale first.
    pub(super) fn partitions(&self, all: Partitions) -> Vec<PartitionId> {
        let over = if self.over == 0 { 0 } else { self.over_commodities };
        let all: Vec<PartitionId> = all.iter().collect();
        let spread = |commodities: u32| all.iter().copied().cycle().take(commodities as usize);
        spread(self.commodities).chain(spread(over)).map(|partition| self.partition.unwrap_or(partition)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: Fill = Fill {
        live: 100,
        commodities: 3,
        over: 50,
        over_commodities: 2,
        partition: None,
        keyed_percent: 50,
        cancelled_percent: 10,
        regular: 7,
    };

    #[test]
    fn commodities_go_round_the_partitions_or_into_one() {
        let partitions = |fill: Fill| fill.partitions(Partitions::new(2).unwrap()).iter().map(|id| id.get()).collect::<Vec<_>>();
        assert_eq!(partitions(FILL), [0, 1, 0, 0, 1]);
        assert_eq!(partitions(FILL.emptied()), [0, 1, 0], "what is over has no orders");
        assert_eq!(partitions(Fill { partition: Some(PartitionId::new(1).unwrap()), ..FILL }), [1; 5]);
    }
}
