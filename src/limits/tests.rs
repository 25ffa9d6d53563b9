//! The bounds, on a clock the test turns.

use governor::clock::FakeRelativeClock;

use super::*;
use crate::domain::UserId;

fn config() -> config::Limits {
    config::Limits {
        enabled: true,
        per_user_per_second: 10,
        per_user_burst: 20,
        per_address_per_second: 100,
        per_address_burst: 200,
        logins_per_minute: 10,
        logins_per_account_per_minute: 20,
        logins_per_account_and_address_per_minute: 5,
        connections_per_address_max: 1000,
        keys_max: 1000,
    }
}

fn limiter(config: &config::Limits) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock(config, clock.clone()), clock)
}

fn user(id: i64) -> PrincipalKey {
    UserId::new(id).expect("the test's id is positive").into()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("the test's address is one")
}

/// The address with this number.
fn numbered(number: u32) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
}

fn passes(check: impl FnMut() -> Result<(), Limited>) -> usize {
    std::iter::repeat_with(check).take(1000).take_while(Result::is_ok).count()
}

#[test]
fn a_user_passes_as_often_as_the_burst_and_then_at_the_rate() {
    let (limiter, clock) = limiter(&config());
    assert_eq!(passes(|| limiter.check_user(user(1))), 20);
    clock.advance(Duration::from_millis(99));
    assert_eq!(passes(|| limiter.check_user(user(1))), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(passes(|| limiter.check_user(user(1))), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(passes(|| limiter.check_user(user(1))), 10);
}

#[test]
fn strangers_try_an_account_so_often_a_minute_and_more_slowly_when_they_go_on() {
    let (limiter, clock) = limiter(&config());
    assert_eq!(passes(|| limiter.check_stranger(1)), 20);
    assert_eq!(passes(|| limiter.check_stranger(2)), 20, "another account has a budget of its own");
    let an_hour: usize = (0..60).map(|_| (clock.advance(Duration::from_secs(60)), passes(|| limiter.check_stranger(1))).1).sum();
    // 120 at once, less what the first minute took, and one every half a minute.
    assert!((205..=225).contains(&an_hour), "{an_hour}");
    clock.advance(Duration::from_secs(60));
    assert_eq!(passes(|| limiter.check_stranger(1)), 2, "by now it is one every half a minute");
}

#[test]
fn one_address_tries_one_account_so_often() {
    let (limiter, clock) = limiter(&config());
    assert_eq!((passes(|| limiter.check_pair(1)), passes(|| limiter.check_pair(2))), (5, 5));
    clock.advance(Duration::from_secs(12));
    assert_eq!(passes(|| limiter.check_pair(1)), 1);
}

#[test]
fn one_key_does_not_use_up_anothers_bucket() {
    let (limiter, _) = limiter(&config());
    assert_eq!(passes(|| limiter.check_user(user(1))), 20);
    assert_eq!(passes(|| limiter.check_user(user(2))), 20);
    assert_eq!(passes(|| limiter.check_address(address("192.0.2.1"))), 200);
    assert_eq!(passes(|| limiter.check_address(address("192.0.2.2"))), 200);
    assert_eq!(passes(|| limiter.check_login(address("192.0.2.1"))), 10);
}

#[test]
fn retry_after_is_whole_seconds_and_at_least_one() {
    let (limiter, clock) = limiter(&config());
    passes(|| limiter.check_user(user(1)));
    assert_eq!(limiter.check_user(user(1)), Err(Limited { retry_after: Duration::from_secs(1) }));
    passes(|| limiter.check_login(address("192.0.2.1")));
    // Ten a minute: the next one passes after six seconds.
    assert_eq!(limiter.check_login(address("192.0.2.1")), Err(Limited { retry_after: Duration::from_secs(6) }));
    clock.advance(Duration::from_millis(500));
    assert_eq!(limiter.check_login(address("192.0.2.1")), Err(Limited { retry_after: Duration::from_secs(6) }));
    clock.advance(Duration::from_millis(4500));
    assert_eq!(limiter.check_login(address("192.0.2.1")), Err(Limited { retry_after: Duration::from_secs(1) }));
    clock.advance(Duration::from_secs(1));
    assert_eq!(limiter.check_login(address("192.0.2.1")), Ok(()));
}

#[test]
fn an_ipv6_customer_counts_once_and_a_mapped_ipv4_address_as_itself() {
    let (limiter, _) = limiter(&config());
    assert_eq!(passes(|| limiter.check_login(address("2001:db8:1:1::1"))), 10);
    assert_eq!(passes(|| limiter.check_login(address("2001:db8:1:1:ffff::2"))), 0);
    assert_eq!(passes(|| limiter.check_login(address("2001:db8:1:2::1"))), 10);
    assert_eq!(passes(|| limiter.check_login(address("192.0.2.1"))), 10);
    assert_eq!(passes(|| limiter.check_login(address("::ffff:192.0.2.1"))), 0);
}

#[test]
fn no_limit_remembers_more_keys_than_its_bound() {
    let (limiter, _) = limiter(&config());
    for number in 0..3000 {
        let _ = (
            limiter.check_address(numbered(number)),
            limiter.check_user(user(1 + i64::from(number))),
            limiter.check_login(numbered(number)),
        );
    }
    let limits = limiter.limits.as_ref().expect("limits are on");
    assert_eq!([limits.addresses.0.len(), limits.users.0.len(), limits.logins.0.len()], [1000; 3]);
}

#[test]
fn without_room_requests_pass_and_logins_share_one_bucket() {
    let (limiter, _) = limiter(&config::Limits { keys_max: 2, ..config() });
    for number in 1..=2 {
        assert_eq!(passes(|| limiter.check_user(user(number))), 20);
        assert_eq!(limiter.check_login(numbered(number as u32)), Ok(()));
    }
    assert_eq!(passes(|| limiter.check_user(user(3))), 1000);
    assert_eq!(passes(|| limiter.check_user(user(2))), 0, "who has a bucket keeps it");
    let newcomers = (3..1000).filter(|number| limiter.check_login(numbered(*number)).is_ok()).count();
    assert_eq!(newcomers, 10);
    assert_eq!(limiter.check_login(numbered(1)), Ok(()), "who has a bucket keeps it");
}

#[test]
fn refilled_keys_are_forgotten_and_make_room() {
    let (limiter, clock) = limiter(&config::Limits { keys_max: 2, ..config() });
    let keys = || limiter.limits.as_ref().expect("limits are on").users.0.len();
    passes(|| limiter.check_user(user(1)));
    limiter.check_user(user(2)).expect("the first passes");
    limiter.forget_refilled();
    assert_eq!(keys(), 2);
    // The bucket that lost one is full again after a tenth of a second, the empty one after two seconds.
    clock.advance(Duration::from_secs(1));
    limiter.forget_refilled();
    assert_eq!(keys(), 1);
    assert_eq!(passes(|| limiter.check_user(user(3))), 20, "there is room for a bucket again");
    clock.advance(Duration::from_secs(4));
    limiter.forget_refilled();
    assert_eq!(keys(), 0);
}

#[test]
fn limits_that_are_off_limit_nothing() {
    let (limiter, _) = limiter(&config::Limits { enabled: false, ..config() });
    assert_eq!(passes(|| limiter.check_login(address("192.0.2.1"))), 1000);
    assert_eq!(passes(|| limiter.check_user(user(1))), 1000);
    assert_eq!(passes(|| limiter.check_address(address("192.0.2.1"))), 1000);
}

#[tokio::test]
async fn upkeep_forgets_by_itself_and_ends_when_told() {
    let (limiter, clock) = limiter(&config());
    limiter.check_user(user(1)).expect("the first passes");
    clock.advance(Duration::from_secs(10));
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let keys = || limiter.limits.as_ref().expect("limits are on").users.0.len();
    let watch = async {
        while keys() > 0 {
            tokio::task::yield_now().await;
        }
        stopper.cancel();
    };
    tokio::join!(limiter.run_upkeep(stop), watch);
    assert_eq!(keys(), 0);
}
