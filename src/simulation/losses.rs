//! What a broker may do that it promised not to: a log loses messages, and an operator has to let its partition go on. In some worlds only,
//! by dice of its own, so that all else happens as it would without.

use super::auditor::Auditor;
use super::dice::Dice;
use crate::history::{Asked, History, Rows, Told};

/// Whether logs lose anything in this world.
#[derive(Debug)]
pub(super) struct Losses {
    pub(super) happen: bool,
    pub(super) dice: Dice,
    /// Losses that were accepted.
    pub(super) accepted: usize,
}

impl Losses {
    pub(super) fn new(seed: u64, mixed: bool) -> Self {
        let mut dice = Dice::new(seed ^ 0x1055_1055);
        // An older release's fences know nothing.
        Self { happen: dice.percent(20) && !mixed, dice, accepted: 0 }
    }
}

/// What is left to check of what was asked and told: nothing about commodities of which a log has lost something, once somebody has
/// accepted that. Before that, nobody may have been told that an order was refused which had been accepted.
pub(super) fn untouched(history: &History, rows: &Rows, auditor: &Auditor) -> Result<(History, Rows), String> {
    let of_order = |id| {
        history.calls.iter().find_map(|call| match (&call.asked, call.told) {
            (Asked::Place { commodity, .. }, Told::Accepted { order, .. } | Told::Order { order, .. } | Told::Pending(Some(order)))
                if order == id =>
            {
                Some(*commodity)
            }
            _ => None,
        })
    };
    if auditor.touched.is_empty() {
        return Ok((history.clone(), rows.clone()));
    }
    for call in &history.calls {
        if let (Asked::Look(order), Told::Refused) = (&call.asked, call.told)
            && let Some(given_up_at) = auditor.given_up.get(order)
            && call.told_at < *given_up_at
        {
            return Err(format!("order {order} is refused at {} ms, and its loss was accepted at {given_up_at} ms", call.told_at));
        }
    }
    let (mut history, mut rows) = (history.clone(), rows.clone());
    let touched: Vec<_> = history
        .calls
        .iter()
        .map(|call| match &call.asked {
            Asked::Place { commodity, .. } | Asked::Restock { commodity, .. } | Asked::SetTotal(commodity) => Some(*commodity),
            Asked::Look(order) | Asked::Cancel(order) | Asked::Money(order) => of_order(*order),
            Asked::Operate => None,
        })
        .map(|commodity| commodity.is_some_and(|commodity| auditor.touched.contains(&commodity)))
        .collect();
    let mut touched = touched.into_iter();
    history.calls.retain(|_| !touched.next().expect("one for each call"));
    rows.orders.retain(|row| !auditor.touched.contains(&row.commodity));
    rows.commodities.retain(|row| !auditor.touched.contains(&row.id));
    Ok((history, rows))
}
