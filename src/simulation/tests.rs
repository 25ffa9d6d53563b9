//! Seeds that must be clean, rules that must be found broken, and seeds that once found something.

use super::*;
use crate::breaks::{Break, with};

/// Worlds each run of the tests looks at; `doorbuster simulate --seeds` looks at as many as one likes.
const CLEAN_SEEDS: u64 = 2_000;

/// In how many worlds a broken rule must have been seen.
const BROKEN_SEEDS: u64 = 20;

fn clean(seed: u64) -> Report {
    run(seed, STEPS, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn every_promise_holds_in_two_thousand_worlds() {
    let sum = (0..CLEAN_SEEDS).map(clean).fold(Report::default(), Report::plus);
    // A world in which little happens proves little.
    let seeds = CLEAN_SEEDS as usize;
    assert!(sum.accepted > 20 * seeds && sum.refused > 40 * seeds && sum.uncertain > 15 * seeds && sum.epochs > 4 * seeds, "{sum:?}");
}

#[test]
fn a_seed_means_the_same_run_every_time() {
    for seed in 0..20 {
        assert_eq!(run(seed, 500, false), run(seed, 500, true));
    }
}

#[test]
fn a_failure_names_its_seed_first_and_says_what_led_to_it() {
    let failure = with(Break::WindowWithDecrement, || run(0, STEPS, true)).unwrap_err();
    assert!(failure.to_string().starts_with("seed 0, step "), "{failure}");
    assert!(failure.trail.iter().any(|line| line.contains("Place")), "{:?}", failure.trail);
}

#[test]
fn scratch() {
    let from: u64 = std::env::var("FROM").unwrap().parse().unwrap();
    let to: u64 = std::env::var("TO").unwrap().parse().unwrap();
    let only = std::env::var("RULE").unwrap_or_default();
    for rule in [
        Break::ConfirmBeforeReply,
        Break::StartOver,
        Break::WindowWithDecrement,
        Break::OlderIsSkipped,
        Break::Fence,
        Break::Drain,
        Break::LookBack,
        Break::Lock,
        Break::StaleRow,
        Break::DeltaChain,
    ] {
        if !only.is_empty() && only != format!("{rule:?}") {
            continue;
        }
        let started = std::time::Instant::now();
        let mut found = 0;
        for seed in from..to {
            if let Err(failure) = with(rule, || run(seed, STEPS, false)) {
                found += 1;
                println!("{rule:?} {failure}");
            }
        }
        println!("{rule:?}: {found} of {} in {:?}", to - from, started.elapsed());
    }
}

/// With the rule broken, some of the first worlds must fail; the first that does says why.
fn seen_broken(rule: Break) -> String {
    let broken = |seed| with(rule, || run(seed, STEPS, false)).err();
    (0..BROKEN_SEEDS).find_map(broken).unwrap_or_else(|| panic!("{rule:?} is broken and nobody sees it")).what
}

#[test]
fn r1_an_answer_before_the_confirm_is_found() {
    let what = seen_broken(Break::ConfirmBeforeReply);
    assert!(what.contains("was accepted and has no row") || what.contains("was shown as"), "{what}");
}

#[test]
fn r2_an_owner_that_goes_on_in_doubt_is_found() {
    seen_broken(Break::StartOver);
}

#[test]
fn r4_a_window_that_is_not_checked_with_the_decrement_is_found() {
    let what = seen_broken(Break::WindowWithDecrement);
    assert!(what.contains("is decided at"), "{what}");
}

#[test]
fn r5_a_projection_that_applies_what_is_older_is_found() {
    let what = seen_broken(Break::OlderIsSkipped);
    assert!(what.contains("the projection stopped"), "{what}");
}

#[test]
fn an_owner_without_a_fence_is_found() {
    seen_broken(Break::Fence);
}

#[test]
fn an_owner_that_does_not_drain_is_found() {
    seen_broken(Break::Drain);
}

/// It takes a snapshot that is read between the fence of a later owner and the news of the lost session: few worlds have one.
#[test]
fn an_owner_that_does_not_look_back_is_found() {
    let what = with(Break::LookBack, || run(4_460, STEPS, false)).unwrap_err().what;
    assert!(what.contains("was given to somebody, and somebody else was told that there is no such id"), "{what}");
}

#[test]
fn an_owner_without_the_lock_is_found() {
    let what = seen_broken(Break::Lock);
    assert!(what.contains("will be skipped"), "{what}");
}

/// A node was cut off from broker and database, and its partition had another owner. It still answered, and what it had never heard
/// of, an order of the later epoch, it called "not found". An owner that is asked for an epoch it does not know now leaves it to the
/// database: see [`crate::routing::OrderLookup`].
#[test]
fn seed_576_a_superseded_owner_denied_an_order_of_its_successor() {
    clean(576);
}

/// A claim went on loading after its session had been lost and the next owner had begun to sell: the snapshot held orders of a later
/// epoch, the engine refused it, and the partition stopped at that node for good. A claim now looks back after loading.
#[test]
fn seeds_2907_and_8947_an_overtaken_claim_loaded_orders_of_its_successor() {
    clean(2_907);
    clean(8_947);
}
