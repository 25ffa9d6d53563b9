//! Seeds that must be clean, rules that must be found broken, and seeds that once found something.

use super::*;
use crate::breaks::{Break, with};

/// Worlds each run of the tests looks at; `doorbuster simulate --seeds` looks at as many as one likes.
const CLEAN_SEEDS: u64 = 2_000;

/// In how many worlds a broken rule must have been seen.
const BROKEN_SEEDS: u64 = 20;

/// The same of a rule that takes two things at a time: a row under way, and a change of the same order that is forgotten meanwhile.
const RARELY_BROKEN_SEEDS: u64 = 100;

/// The same of a rule that takes two things at a time of one node: its lock is lost, and what it sends beside the lock's connection arrives.
const SELDOM_BROKEN_SEEDS: u64 = 500;

fn clean(seed: u64) -> Report {
    run(seed, STEPS, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn every_promise_holds_in_two_thousand_worlds() {
    let sum = (0..CLEAN_SEEDS).map(clean).fold(Report::default(), Report::plus);
    // A world in which little happens proves little.
    let seeds = CLEAN_SEEDS as usize;
    assert!(sum.accepted > 20 * seeds && sum.refused > 40 * seeds && sum.uncertain > 15 * seeds && sum.epochs > 4 * seeds, "{sum:?}");
    assert!(sum.archived > seeds / 10, "{sum:?}");
    assert!(sum.losses > seeds / 10, "{sum:?}");
    assert!(sum.taken > seeds && sum.returned > seeds / 4, "{sum:?}");
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

/// With the rule broken, some of the first worlds must fail; the first that does says why.
fn seen_broken(rule: Break) -> String {
    seen_broken_within(BROKEN_SEEDS, rule)
}

fn seen_broken_within(seeds: u64, rule: Break) -> String {
    let broken = |seed| with(rule, || run(seed, STEPS, false)).err();
    (0..seeds).find_map(broken).unwrap_or_else(|| panic!("{rule:?} is broken and nobody sees it")).what
}

#[test]
fn r1_an_answer_before_the_confirm_is_found() {
    let what = seen_broken(Break::ConfirmBeforeReply);
    assert!(["was accepted and has no row", "was shown as", "the restocks come to"].iter().any(|words| what.contains(words)), "{what}");
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

/// A log that consumers have come to and left stands in any order.
#[test]
fn r5_a_consumer_that_goes_by_places_is_found() {
    let what = seen_broken_within(SELDOM_BROKEN_SEEDS, Break::OrderOfNumbers);
    assert!(what.contains("the projection stopped"), "{what}");
}

/// A fence that comes back before what was written before it, and is applied at once: what was accepted is skipped.
#[test]
fn a_fence_that_overtakes_what_came_back_is_found() {
    seen_broken_within(SELDOM_BROKEN_SEEDS, Break::FenceWaits);
}

#[test]
fn an_owner_without_a_fence_is_found() {
    seen_broken(Break::Fence);
}

#[test]
fn an_owner_that_does_not_drain_is_found() {
    seen_broken(Break::Drain);
}

#[test]
fn an_owner_that_does_not_look_back_is_found() {
    let broken = |seed| with(Break::LookBack, || overtaken(seed)).err();
    let what = (0..BROKEN_SEEDS).find_map(broken).expect("nobody looks back, and somebody sees it");
    // It serves from a state that is over, or cannot even begin with it.
    assert!(what.contains("does not come to rest") || what.contains("is of epoch") && what.contains("only begins"), "{what}");
}

#[test]
fn an_owner_without_the_lock_is_found() {
    let what = seen_broken(Break::Lock);
    assert!(what.contains("will be skipped"), "{what}");
}

/// A lock that is deleted while its connection lives: the next owner fences, and what the first one had sent is confirmed all the same.
#[test]
fn an_owner_that_does_not_look_at_its_lock_when_a_confirm_comes_is_found() {
    let what = seen_broken_within(SELDOM_BROKEN_SEEDS, Break::LockAtConfirm);
    // Where a log has lost something it may go on beside its successor instead.
    assert!(["will be skipped", "the engine has"].iter().any(|words| what.contains(words)), "{what}");
}

#[test]
fn an_owner_that_appends_beside_the_connection_of_its_lock_is_found() {
    let what = seen_broken_within(SELDOM_BROKEN_SEEDS, Break::ConnectionOfTheLock);
    assert!(what.contains("will be skipped"), "{what}");
}

/// A log that has lost confirmed batches: the next owner's fence is applied as if they had never been.
#[test]
fn a_fence_that_does_not_say_what_is_known_to_be_confirmed_is_found() {
    let what = seen_broken_within(RARELY_BROKEN_SEEDS, Break::KnownAtFence);
    assert!(what.contains("its orders are refused"), "{what}");
}

/// An order that is cancelled twice with one row would give its units back twice.
#[test]
fn an_engine_that_believes_an_old_row_is_found() {
    let what = seen_broken_within(RARELY_BROKEN_SEEDS, Break::StaleRow);
    assert!(what.contains("moves from"), "{what}");
}

/// Equal subjects of two issuers would share limits and orders.
#[test]
fn an_engine_that_does_not_tell_issuers_apart_is_found() {
    let what = seen_broken(Break::IssuerOfSubject);
    assert!(what.contains("is not what was asked for") || what.contains("has a row, and everyone"), "{what}");
}

#[test]
fn a_command_that_is_carried_out_whatever_version_it_expects_is_found() {
    let what = seen_broken(Break::ExpectedVersion);
    assert!(what.contains("was for version"), "{what}");
}

/// A restock that is repeated after the owner has changed would add its units twice.
#[test]
fn an_operators_key_that_is_not_kept_through_a_claim_is_found() {
    let what = seen_broken(Break::KeysThroughClaim);
    assert!(what.contains("is done twice") || what.contains("is listed twice"), "{what}");
}

/// What a consumer of an older release has applied is in no delta.
#[test]
fn a_checkpoint_with_a_delta_missing_is_found() {
    let what = seen_broken_within(RARELY_BROKEN_SEEDS, Break::DeltaChain);
    assert!(what.contains("where the rows come to"), "{what}");
}

/// Whoever pays late for an order of a closed commodity finds its row gone.
#[test]
fn an_archived_order_that_is_not_brought_back_is_found() {
    let what = seen_broken_within(SELDOM_BROKEN_SEEDS, Break::BringBack);
    assert!(what.contains("the projection stopped"), "{what}");
}

/// What a claim reads of what is on sale would lie in the archive.
#[test]
fn orders_archived_of_what_is_not_sealed_are_found() {
    seen_broken(Break::ArchiveUnsealed);
}

/// A provider that forgets keys gives back whatever it is asked for.
#[test]
fn money_that_is_given_back_without_a_look_is_found() {
    let what = seen_broken_within(RARELY_BROKEN_SEEDS, Break::RefundLookedUp);
    assert!(what.contains("given back") || what.contains("does not come to rest"), "{what}");
}

#[test]
fn units_that_come_back_twice_are_found() {
    let what = seen_broken(Break::UnitsOnce);
    assert!(what.contains("moves from"), "{what}");
}

#[test]
fn an_order_that_is_paid_and_expires_all_the_same_is_found() {
    let what = seen_broken(Break::PaidOrExpired);
    assert!(what.contains("moves from"), "{what}");
}

/// A transaction that fails, and is made again: what was told of it was told before it was, and once more.
#[test]
fn what_is_told_apart_from_the_rows_it_is_about_is_found() {
    let what = seen_broken_within(RARELY_BROKEN_SEEDS, Break::NoticeWithRows);
    assert!(what.contains("the projection stopped") || what.contains("told what never was"), "{what}");
}

/// What an owner said that is one no longer would stay on the board for good: nobody corrects it, because buyers never reach the engine.
#[test]
fn a_board_that_takes_what_is_of_an_older_epoch_is_found() {
    let what = seen_broken_within(SELDOM_BROKEN_SEEDS, Break::OlderBoard);
    assert!(["as sold out", "and its owner has", "is not fed by the owner"].iter().any(|words| what.contains(words)), "{what}");
}

/// A node was cut off from broker and database, and its partition had another owner. It still answered, and what it had never heard
/// of, an order of the later epoch, it called "not found". An owner that is asked for an epoch it does not know now leaves it to the
/// database: see [`crate::routing::OrderLookup`].
#[test]
fn seed_139_a_superseded_owner_denied_an_order_of_its_successor() {
    clean(139);
}

/// A claim whose lock was gone learned of a batch that a later owner had got confirmed, and wrote it into its fence: no form holds a fence
/// that knows of what comes after it.
#[test]
fn seed_2861_a_claim_that_was_passed_sends_no_fence() {
    clean(2861);
}

/// A claim went on loading after its session had been lost and the next owner had begun to sell: the snapshot held orders of a later
/// epoch, the engine refused it, and the partition stopped at that node for good. A claim now looks back after loading.
#[test]
fn an_overtaken_claim_is_given_up() {
    for seed in 0..BROKEN_SEEDS {
        overtaken(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// A world in which a snapshot is read when a later owner has sold, mostly before the news that the own session is over: hardly one comes to
/// that by chance.
fn overtaken(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed, Trail::new(false));
    let weights = &mut world.env.weather.weights;
    (weights.fault, weights.operator, weights.buyer) = (0, 20, 120);
    let partition = world.env.partitions.iter().next().expect("there is one");
    let is_loading = |world: &World| world.nodes.iter().position(|node| node.is_loading(partition));
    let Some(node) = until(&mut world, is_loading)? else { return Ok(()) };
    world.nodes[node].paused = true;
    for session in world.nodes[node].sessions() {
        world.env.broker.kill(session, &mut world.env.dice, &mut world.env.auditor)?;
    }
    world.count_members();
    let epoch = world.env.tables.position(partition).0;
    let of_later =
        |world: &World| world.env.tables.orders().iter().any(|row| row.order.id.partition() == partition && row.order.id.epoch() > epoch);
    until(&mut world, |world| of_later(world).then_some(()))?;
    world.nodes[node].paused = false;
    world.count_members();
    finish::finish(&mut world).map(drop)
}

/// Lets things happen until something is so; not for ever.
fn until<T>(world: &mut World, is_so: impl Fn(&World) -> Option<T>) -> Result<Option<T>, String> {
    for _ in 0..4 * STEPS {
        if let Some(so) = is_so(world) {
            return Ok(Some(so));
        }
        world.step()?;
    }
    Ok(None)
}
