//! What audits and `doorbuster archive` do to the tables, as far as others can see it: commodities are sealed, and their orders moved.

use super::{Inner, Memory, Row};
use crate::breaks::{self, Break};
use crate::domain::{CommodityId, OrderId, OrderStatus, PaymentStatus};
use crate::simulation::dice::Dice;
use crate::store::NewPayment;

/// Orders of a slice, at most.
const SLICE_MAX: u64 = 5;

impl Inner {
    /// An order's row, wherever it lies.
    pub(super) fn row(&self, id: OrderId) -> Option<&Row> {
        self.orders.get(&id).or_else(|| self.archived.get(&id))
    }

    /// All rows, in no order.
    pub(super) fn all_rows(&self) -> impl Iterator<Item = &Row> {
        self.orders.values().chain(self.archived.values())
    }

    fn is_over(&self, id: CommodityId) -> bool {
        self.commodities.get(&id).is_some_and(|row| row.removed || row.commodity.closed_at.is_some())
    }
}

impl Memory {
    /// An audit seals a commodity, or a slice of the orders of one is archived.
    pub(in crate::simulation) fn look_after_the_past(&self, dice: &mut Dice) {
        let mut inner = self.lock();
        let ids: Vec<CommodityId> = inner.commodities.keys().copied().collect();
        let Some(id) = dice.pick(&ids).copied() else { return };
        let owed = |row: &Row| row.order.commodity == id && is_owed(row.order.status);
        if dice.percent(40) {
            let is_due = |row: &NewPayment| row.commodity == id && matches!(row.status, PaymentStatus::Open | PaymentStatus::RefundDue);
            if inner.is_over(id) && !inner.orders.values().any(owed) && !inner.payments.values().any(is_due) {
                inner.sealed.insert(id);
            }
            return;
        }
        let most = dice.between(1, SLICE_MAX) as usize;
        if !inner.sealed.contains(&id) && !breaks::is_broken(Break::ArchiveUnsealed) {
            return;
        }
        let of_it = inner.orders.values().filter(|row| row.order.commodity == id && !is_owed(row.order.status));
        for order in of_it.map(|row| row.order.id).take(most).collect::<Vec<_>>() {
            if let Some(row) = inner.orders.remove(&order) {
                inner.archived.insert(order, row);
            }
        }
    }

    /// How many orders are archived.
    pub(in crate::simulation) fn archived(&self) -> usize {
        self.lock().archived.len()
    }
}

const fn is_owed(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Reserved | OrderStatus::RefundDue)
}
