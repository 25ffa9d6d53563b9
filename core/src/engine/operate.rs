//! What operators do to commodities: list, change, restock, pause, resume, end, close, remove.

use super::keys::Keys;
use super::{Answer, Command, Engine, Outcome, Refusal};
use crate::domain::{Commodity, CommodityId, Epoch, Quantity, Sequence, Stock, Terms, TermsChange, Timestamp, Units};
use crate::event::{Event, LogVersion};
use crate::form::{offer, says_all_of};

/// The version of a commodity nobody has changed yet.
const FIRST_VERSION: u32 = 1;

impl Engine {
    /// Puts a commodity on the list.
    pub(super) fn list(&mut self, id: CommodityId, terms: Terms, total: Units, events: &mut Vec<Event>) -> Outcome {
        if self.commodities.find(id).is_some() {
            return Err(Refusal::CommodityExists);
        }
        self.check_terms(&terms)?;
        let commodity =
            Commodity { id, terms, stock: Stock::fresh(total), paused: false, ended_at: None, closed_at: None, version: FIRST_VERSION };
        self.commodities.insert(commodity.clone(), false);
        events.push(Event::Listed(Box::new(commodity.clone())));
        Ok(Answer::Commodity(Box::new(commodity)))
    }

    /// Puts a commodity on the list unless it ever was there: this engine knows it, or it has forgotten it, and then the tables have its row.
    pub(super) fn list_once(
        &mut self,
        id: CommodityId,
        (terms, total): (Terms, Units),
        absent_at: (Epoch, Sequence),
        events: &mut Vec<Event>,
    ) -> Outcome {
        if self.commodities.find(id).is_none() {
            self.check_row(absent_at)?;
        }
        self.list(id, terms, total, events)
    }

    /// Whether terms can be: they do not contradict themselves, and the log has words for them.
    fn check_terms(&self, terms: &Terms) -> Result<(), Refusal> {
        if !terms.faults().is_empty() {
            Err(Refusal::TermsConflict)
        } else if self.log_version < LogVersion::V4 && !says_all_of(terms)
            || self.log_version < LogVersion::V5 && !offer::says_all_of(terms)
        {
            Err(Refusal::UpgradeUnfinished)
        } else {
            Ok(())
        }
    }

    /// Whether the commodity that a command is about is of that version. Of what is not there the command itself says so.
    pub(super) fn check_version(&self, command: &Command, expected: u32) -> Result<(), Refusal> {
        let slot = command.commodity().and_then(|id| self.commodities.find(id));
        let listing = slot.map(|slot| self.commodities.listing(slot)).filter(|listing| !listing.removed);
        if listing.is_some_and(|listing| listing.commodity.version != expected) { Err(Refusal::VersionMismatch) } else { Ok(()) }
    }

    /// Changes terms, total or both in one version. What an operator ended stays ended, whatever its window becomes.
    pub(super) fn change(&mut self, id: CommodityId, change: &TermsChange, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_commodity(id)?;
        let commodity = self.commodities.get(slot);
        let terms = change.onto(&commodity.terms);
        if terms != commodity.terms {
            self.check_terms(&terms)?;
        }
        let total = change.total.unwrap_or(commodity.stock.total);
        let stock = with_total(commodity.stock, total).ok_or(Refusal::TotalTooLow)?;
        let (new_terms, new_total) = (terms != commodity.terms, stock != commodity.stock);
        if !new_terms && !new_total {
            return Ok(self.answer(slot));
        }
        let changed = self.commodities.amend(slot, |commodity| {
            commodity.terms = terms;
            commodity.stock = stock;
        });
        let version = changed.version;
        if new_terms {
            events.push(Event::Changed { commodity: id, terms: Box::new(changed.terms.clone()), version });
        }
        if new_total {
            events.push(Event::Restocked { commodity: id, total, version });
        }
        Ok(self.answer(slot))
    }

    /// Adds units.
    pub(super) fn restock(&mut self, id: CommodityId, units: Units, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_commodity(id)?;
        let stock = self.commodities.get(slot).stock;
        let total = stock.total.plus(units.get()).ok_or(Refusal::TotalTooHigh)?;
        if total == stock.total {
            return Ok(self.answer(slot));
        }
        let stock = with_total(stock, total).expect("a higher total is never too low");
        let version = self.commodities.amend(slot, |commodity| commodity.stock = stock).version;
        events.push(Event::Restocked { commodity: id, total, version });
        Ok(self.answer(slot))
    }

    /// Stops the sale for now, or goes on with it.
    pub(super) fn set_paused(&mut self, id: CommodityId, paused: bool, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_commodity(id)?;
        if self.commodities.get(slot).paused != paused {
            let version = self.commodities.amend(slot, |commodity| commodity.paused = paused).version;
            events.push(Event::Paused { commodity: id, paused, version });
        }
        Ok(self.answer(slot))
    }

    /// Ends the sale for good.
    pub(super) fn end(&mut self, now: Timestamp, id: CommodityId, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_commodity(id)?;
        if self.commodities.get(slot).ended_at.is_none() {
            let version = self.commodities.amend(slot, |commodity| commodity.ended_at = Some(now)).version;
            events.push(Event::Ended { commodity: id, at: now, version });
        }
        Ok(self.answer(slot))
    }

    /// Makes a commodity history: its sale is over, and nothing of it is held or owed. It is forgotten when the tables have that, with
    /// its keys, which lead to its orders until then.
    pub(super) fn close(&mut self, now: Timestamp, id: CommodityId, events: &mut Vec<Event>) -> Outcome {
        let slot = match self.find_commodity(id) {
            // Not quite forgotten yet.
            Err(Refusal::Closed) => return Ok(self.answer(self.commodities.find(id).ok_or(Refusal::CommodityNotFound)?)),
            found => found?,
        };
        if self.with_older_releases() {
            return Err(Refusal::UpgradeUnfinished);
        }
        if !self.commodities.get(slot).has_ended(now) {
            return Err(Refusal::NotEnded);
        }
        if !self.owes_nothing(slot) {
            return Err(Refusal::HasOpenOrders);
        }
        Ok(self.close_in(now, slot, events))
    }

    /// Closes what ended before a time and owes nothing, at most so many.
    pub(super) fn close_ended(&mut self, now: Timestamp, before: Timestamp, at_most: usize, events: &mut Vec<Event>) -> Outcome {
        let is_due =
            |slot: u32, commodity: &Commodity| commodity.had_ended_by(before) && commodity.has_ended(now) && self.owes_nothing(slot);
        let at_most = if self.with_older_releases() { 0 } else { at_most };
        let due: Vec<u32> =
            self.commodities.listed().filter(|(slot, commodity)| is_due(*slot, commodity)).map(|(slot, _)| slot).take(at_most).collect();
        for slot in &due {
            self.close_in(now, *slot, events);
        }
        Ok(Answer::Closed(due.len()))
    }

    fn close_in(&mut self, now: Timestamp, slot: u32, events: &mut Vec<Event>) -> Answer {
        let closed = self.commodities.amend(slot, |commodity| commodity.closed_at = Some(now)).clone();
        events.push(Event::Closed { commodity: closed.id, at: now, version: closed.version });
        self.finish(slot);
        Answer::Commodity(Box::new(closed))
    }

    fn finish(&mut self, slot: u32) {
        self.commodities.finish(slot);
        self.ending.push_back((self.gathering, slot));
    }

    /// Whether no unit of it is held, no payment is open and no refund is due.
    fn owes_nothing(&self, slot: u32) -> bool {
        self.commodities.get(slot).stock.held == Units::ZERO && !self.commodities.is_owed(slot)
    }

    /// Takes units of it that are on sale off its total, whether it is over or not.
    pub(super) fn write_off(&mut self, slot: u32, quantity: Quantity, events: &mut Vec<Event>) {
        let stock = self.commodities.get(slot).stock;
        let total = stock.total.minus(quantity.get()).expect("they are among the units there are");
        let stock = with_total(stock, total).expect("they are on sale");
        let commodity = self.commodities.amend(slot, |commodity| commodity.stock = stock);
        events.push(Event::Restocked { commodity: commodity.id, total, version: commodity.version });
    }

    /// Takes a commodity off the list; its keys are forgotten with it, and only [`Event::Removed`] says so. Refused while units are
    /// held or sold, while a payment is open and while a refund is due.
    pub(super) fn remove(&mut self, now: Timestamp, id: CommodityId, events: &mut Vec<Event>) -> Outcome {
        let slot = self.find_commodity(id)?;
        if !self.owes_nothing(slot) || self.commodities.get(slot).stock.sold > Units::ZERO {
            return Err(Refusal::HasOrders);
        }
        let listing = self.commodities.listing_mut(slot);
        (listing.removed, listing.keys) = (true, Keys::default());
        self.finish(slot);
        events.push(Event::Removed { commodity: id, at: now });
        Ok(Answer::Removed)
    }

    /// The slot of a commodity that can be changed.
    fn find_commodity(&self, id: CommodityId) -> Result<u32, Refusal> {
        let slot = self.commodities.find(id).ok_or(Refusal::CommodityNotFound)?;
        let listing = self.commodities.listing(slot);
        match listing.is_over() {
            false => Ok(slot),
            true if listing.removed => Err(Refusal::CommodityNotFound),
            true => Err(Refusal::Closed),
        }
    }

    fn answer(&self, slot: u32) -> Answer {
        Answer::Commodity(Box::new(self.commodities.get(slot).clone()))
    }
}

/// The stock with another total: the difference comes from, or goes to, what is available. None if that is not enough.
fn with_total(stock: Stock, total: Units) -> Option<Stock> {
    let available = total.minus(stock.held.get())?.minus(stock.sold.get())?;
    Some(Stock { total, available, ..stock })
}
