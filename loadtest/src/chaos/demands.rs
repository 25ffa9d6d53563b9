//! What must be seen of the damage besides the promises: that it was felt, and what must go on meanwhile. Only looks at what
//! buyers were told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use doorbuster::domain::Epoch;

use crate::answer::{Acceptance, Answer, Verdict};
use crate::client::TransportError;
use crate::outcome::NoOutcome;
use crate::volley::Attempt;

/// Into so many parts an outage is divided, in each of which orders must be accepted.
const PARTS: u32 = 4;
/// How many answers are put into words.
const WORDS_MAX: usize = 10;

/// Damage that nobody was there to feel, once it was done, proves nothing. What lasts while selling goes on must also be outlasted.
pub(super) fn load_went_on(attempts: &[Attempt], (from, until): (Instant, Instant), lasts: Duration) -> anyhow::Result<()> {
    let last = attempts.iter().map(|attempt| attempt.sent).max();
    let sent_after = |moment| last.is_some_and(|last| last > moment);
    if sent_after(if lasts.is_zero() { from } else { until }) { Ok(()) } else { Err(over_too_early()) }
}

/// No answer is beyond the contract.
pub(super) fn within_contract(attempts: &[Attempt]) -> anyhow::Result<()> {
    let malformed = |attempt: &Attempt| matches!(&attempt.result, Ok(Answer { verdict: Verdict::Malformed(_), .. }));
    let wrong: Vec<&Attempt> = attempts.iter().filter(|attempt| malformed(attempt)).take(WORDS_MAX).collect();
    ensure!(wrong.is_empty(), "answers beyond the contract: {wrong:?}");
    Ok(())
}

/// No request failed, or was told to come again, or was left pending. A connection that a process which is gone refused is none.
pub(super) fn nobody_noticed(attempts: &[Attempt]) -> anyhow::Result<()> {
    let mut failed: BTreeMap<String, u64> = BTreeMap::new();
    for why in attempts.iter().filter_map(|attempt| failure(&attempt.result)) {
        *failed.entry(why).or_default() += 1;
    }
    ensure!(failed.is_empty(), "no request may fail: {failed:?}");
    Ok(())
}

fn failure(result: &Result<Answer, TransportError>) -> Option<String> {
    match result {
        Err(TransportError::Connect) => None,
        Err(error @ (TransportError::Broken | TransportError::TimedOut | TransportError::TooLong)) => Some(error.words().to_owned()),
        Ok(answer) => {
            let is_pending = matches!(answer.verdict, Verdict::Pending(_));
            (is_pending || answer.status >= 500 || answer.asks_to_come_again()).then(|| format!("{} {}", answer.status, answer.code))
        }
    }
}

/// How many orders were accepted meanwhile: some, unless nothing was left.
pub(super) fn sold_meanwhile(attempts: &[Attempt], (from, until): (Instant, Instant), stock: u64) -> anyhow::Result<u64> {
    match accepted_while(attempts, (from, until)) {
        0 if is_sold_out(attempts, until, stock) => Err(over_too_early()),
        0 => bail!("nothing was accepted while it was away"),
        accepted => Ok(accepted),
    }
}

/// Why nothing was sold once the damage was done.
pub(super) fn not_sold_again(attempts: &[Attempt], until: Instant, stock: u64) -> anyhow::Error {
    if is_sold_out(attempts, until, stock) { over_too_early() } else { anyhow!("nothing was sold after the damage") }
}

/// Whether every unit had been sold by then. Only orders that were accepted show it: whoever says `sold_out` may be wrong.
fn is_sold_out(attempts: &[Attempt], by: Instant, stock: u64) -> bool {
    let sold = attempts.iter().filter(|attempt| accepted(&attempt.result).is_some() && attempt.ended < by);
    sold.count() as u64 >= stock
}

/// How many orders were accepted meanwhile.
pub(super) fn accepted_while(attempts: &[Attempt], (from, until): (Instant, Instant)) -> u64 {
    attempts.iter().filter(|attempt| accepted(&attempt.result).is_some() && (from..until).contains(&attempt.ended)).count() as u64
}

/// Selling went on from the beginning of an outage to its end: orders were accepted in each quarter of it.
pub(super) fn sold_in_each_quarter(attempts: &[Attempt], (from, until): (Instant, Instant), stock: u64) -> anyhow::Result<()> {
    let quarter = until.duration_since(from) / PARTS;
    for part in 0..PARTS {
        let (begin, end) = (from + quarter * part, from + quarter * (part + 1));
        if accepted_while(attempts, (begin, end)) > 0 {
            continue;
        }
        if is_sold_out(attempts, end, stock) {
            return Err(over_too_early());
        }
        bail!("nothing was accepted in part {} of {PARTS} of the outage", part + 1);
    }
    Ok(())
}

/// An owner that stands still decides nothing: whatever was asked for and answered meanwhile is no new order of its epoch.
pub(super) fn nothing_of_the_paused(attempts: &[Attempt], epoch: Epoch, (from, until): (Instant, Instant)) -> anyhow::Result<()> {
    let meanwhile = |attempt: &&Attempt| attempt.sent > from && attempt.ended < until;
    // The same order again, under its key (200), anybody may give: it is in the tables.
    let is_new = |attempt: &&Attempt| attempt.result.as_ref().is_ok_and(|answer| answer.status == 201);
    let of_old = |attempt: &&Attempt| accepted(&attempt.result).is_some_and(|acceptance| acceptance.order.epoch() == epoch);
    let wrong = attempts.iter().filter(meanwhile).filter(is_new).find(of_old);
    ensure!(wrong.is_none(), "the owner of epoch {epoch} stood still, and an order of that epoch was asked for and accepted: {wrong:?}");
    Ok(())
}

/// The order of an answer that has one.
pub(super) fn accepted(result: &Result<Answer, TransportError>) -> Option<&Acceptance> {
    match result {
        Ok(Answer { verdict: Verdict::Accepted(acceptance), .. }) => Some(acceptance),
        Ok(_) | Err(_) => None,
    }
}

fn over_too_early() -> anyhow::Error {
    NoOutcome::mark(anyhow!("the sale was over before the damage was: give more buyers and units"))
}

#[cfg(test)]
mod tests {
    use doorbuster::domain::{OrderId, OrderStatus, PartitionId, Timestamp, UserId};

    use super::*;

    fn answered(sent: Instant, ended: Instant, status: u16, code: &str, verdict: Verdict) -> Attempt {
        let answer = Answer { status, code: code.to_owned(), verdict, retry_key: None, retry_after_seconds: None };
        Attempt { buyer: 0, target: 0, due: sent, sent, ended, result: Ok(answer) }
    }

    fn sold(sent: Instant, ended: Instant, epoch: u32) -> Attempt {
        let order = OrderId::new(Timestamp::ZERO, PartitionId::new(1).unwrap(), Epoch::new(epoch).unwrap(), 1);
        let acceptance = Acceptance { order, user: UserId::new(7).unwrap(), quantity: 1, status: OrderStatus::Confirmed };
        answered(sent, ended, 201, "accepted", Verdict::Accepted(acceptance))
    }

    #[test]
    fn an_outage_is_outlasted_only_if_each_quarter_of_it_sold() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let outage = (at(10), at(30));
        let sold_at = |moments: &[u64]| moments.iter().map(|moment| sold(at(*moment), at(*moment), 1)).collect::<Vec<_>>();
        assert!(sold_in_each_quarter(&sold_at(&[10, 15, 20, 29]), outage, 4).is_ok());
        let wrong = sold_in_each_quarter(&sold_at(&[9, 15, 20, 29]), outage, 4).unwrap_err();
        assert!(wrong.to_string().contains("part 1 of 4") && !NoOutcome::is_of(&wrong), "{wrong}");
        let mut over = sold_at(&[10, 15, 20]);
        over.push(answered(at(22), at(22), 409, "sold_out", Verdict::Refused));
        assert!(NoOutcome::is_of(&sold_in_each_quarter(&over, outage, 3).unwrap_err()));
        let untrue = sold_in_each_quarter(&over, outage, 4).unwrap_err();
        assert!(untrue.to_string().contains("part 4 of 4") && !NoOutcome::is_of(&untrue), "{untrue}");
    }

    #[test]
    fn only_a_stock_that_is_sold_excuses_that_nothing_was_sold_meanwhile() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (outage, before) = ((at(10), at(30)), [sold(at(8), at(9), 1), answered(at(8), at(9), 409, "sold_out", Verdict::Refused)]);
        assert!(NoOutcome::is_of(&sold_meanwhile(&before, outage, 1).unwrap_err()));
        assert!(!NoOutcome::is_of(&sold_meanwhile(&before, outage, 2).unwrap_err()));
        assert_eq!(sold_meanwhile(&[sold(at(8), at(10), 1)], outage, 1).unwrap(), 1);
        assert!(NoOutcome::is_of(&not_sold_again(&before, at(30), 1)) && !NoOutcome::is_of(&not_sold_again(&before, at(30), 2)));
    }

    #[test]
    fn damage_is_felt_by_who_asks_when_it_is_done() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (gone, sent) = ((at(10), at(30)), |second| [sold(at(second), at(second), 1)]);
        let (short, long) = (Duration::ZERO, Duration::from_secs(20));
        assert!(NoOutcome::is_of(&load_went_on(&sent(10), gone, short).unwrap_err()));
        assert!(load_went_on(&sent(11), gone, short).is_ok());
        assert!(NoOutcome::is_of(&load_went_on(&sent(11), gone, long).unwrap_err()));
        assert!(load_went_on(&sent(31), gone, long).is_ok());
    }

    #[test]
    fn whoever_was_not_served_at_once_has_noticed() {
        let now = Instant::now();
        let failed = |error| Attempt { result: Err(error), ..sold(now, now, 1) };
        let quiet = [sold(now, now, 1), answered(now, now, 409, "sold_out", Verdict::Refused), failed(TransportError::Connect)];
        assert!(nobody_noticed(&quiet).is_ok());
        for noticed in [
            failed(TransportError::Broken),
            answered(now, now, 503, "unavailable", Verdict::Refused),
            answered(now, now, 202, "pending", Verdict::Pending(None)),
        ] {
            assert!(!NoOutcome::is_of(&nobody_noticed(&[noticed]).unwrap_err()));
        }
        let malformed = answered(now, now, 200, "", Verdict::Malformed("no id".to_owned()));
        assert!(within_contract(&quiet).is_ok() && within_contract(&[malformed]).is_err());
    }

    #[test]
    fn an_order_that_only_the_paused_owner_can_have_decided_is_found() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (paused, old) = ((at(10), at(20)), Epoch::new(3).unwrap());
        let mut again = sold(at(11), at(12), 3);
        again.result.as_mut().unwrap().status = 200;
        let right = [sold(at(9), at(11), 3), sold(at(11), at(21), 3), sold(at(11), at(12), 4), again];
        assert!(nothing_of_the_paused(&right, old, paused).is_ok());
        let wrong = nothing_of_the_paused(&[sold(at(11), at(12), 3)], old, paused).unwrap_err();
        assert!(!NoOutcome::is_of(&wrong), "{wrong}");
    }
}
