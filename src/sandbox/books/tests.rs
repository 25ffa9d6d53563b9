//! What the books let happen to a payment, and what survives.

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO.plus_millis(millis)
}

fn told(millis: u64) -> Told {
    Told { now: at(millis), copies: vec![0] }
}

fn payment(id: &str) -> Payment {
    Payment {
        id: id.into(),
        token: format!("token-{id}"),
        reference: Some(format!("r-{id}")),
        order: None,
        description: String::new(),
        amount: 4_999,
        currency: "EUR".parse().unwrap(),
        state: State::Open,
        authorized: 0,
        captured: 0,
        refunded: 0,
        return_url: None,
        created_at: at(1),
        expires_at: None,
        succeeds_at: None,
    }
}

fn key(text: &str, fingerprint: &str, used: u64, kept: u64) -> Option<Key> {
    let (used_at, forgotten_until) = (at(used), at(used).minus_millis(kept));
    Some(Key { text: text.into(), fingerprint: fingerprint.into(), used_at, forgotten_until })
}

async fn books() -> (Books, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Books::open(&folder.path().join("books")).await.unwrap(), folder)
}

/// The payment as it is after all; none of it a refusal.
fn made(outcome: Outcome<Payment>) -> Payment {
    match outcome {
        Outcome::Made(payment) => payment,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_payment_goes_its_way_and_no_other() {
    let (books, _folder) = books().await;
    for id in ["a", "b", "c", "d"] {
        made(books.create(payment(id), None, told(1)).await.unwrap());
    }
    let change = async |id: &str, change| books.change(id.to_owned(), change, told(2)).await.unwrap();
    let act = async |id: &str, act| books.act(format!("token-{id}"), act, told(2)).await.unwrap();
    assert!(matches!(change("a", Change::Capture).await, Outcome::UnexpectedState(payment) if payment.state == State::Open));
    assert_eq!(made(act("a", Act::Pay).await).authorized, 4_999);
    for wrong in [act("a", Act::Pay).await, act("a", Act::Decline).await, change("a", Change::Cancel).await] {
        assert!(matches!(wrong, Outcome::UnexpectedState(payment) if payment.state == State::Authorized));
    }
    let captured = made(change("a", Change::Capture).await);
    assert_eq!((captured.state, captured.captured), (State::Captured, 4_999));
    for wrong in [change("a", Change::Capture).await, change("a", Change::Cancel).await, change("a", Change::Void).await] {
        assert!(matches!(wrong, Outcome::UnexpectedState(payment) if payment.state == State::Captured));
    }
    assert_eq!(made(change("b", Change::Cancel).await).state, State::Cancelled);
    assert!(matches!(act("b", Act::Pay).await, Outcome::UnexpectedState(_)));
    made(act("c", Act::Pay).await);
    let voided = made(change("c", Change::Void).await);
    assert_eq!((voided.state, voided.captured), (State::Cancelled, 0));
    assert_eq!(made(act("d", Act::Later(at(10))).await).state, State::Processing);
    for wrong in [change("d", Change::Cancel).await, change("d", Change::Void).await, act("d", Act::Pay).await] {
        assert!(matches!(wrong, Outcome::UnexpectedState(payment) if payment.state == State::Processing));
    }
    assert_eq!(books.settle(at(9), || vec![0]).await.unwrap(), 0);
    assert_eq!(books.settle(at(10), || vec![0]).await.unwrap(), 1);
    assert_eq!(books.payment("r-d".into()).await.unwrap().unwrap().state, State::Authorized);
    assert!(matches!(change("nobody", Change::Void).await, Outcome::Missing));
}

#[tokio::test]
async fn a_key_makes_one_thing_until_it_is_forgotten() {
    let (books, _folder) = books().await;
    made(books.create(payment("a"), key("k", "f", 100, 50), told(100)).await.unwrap());
    let again = books.create(payment("b"), key("k", "f", 149, 50), told(149)).await.unwrap();
    assert!(matches!(again, Outcome::Before(found) if found.id == "a"));
    assert!(matches!(books.create(payment("b"), key("k", "other", 149, 50), told(149)).await.unwrap(), Outcome::KeyReused));
    made(books.create(payment("b"), key("k", "other", 150, 50), told(150)).await.unwrap());
    assert!(
        matches!(books.create(payment("c"), key("k", "other", 151, 50), told(151)).await.unwrap(), Outcome::Before(found) if found.id == "b")
    );
}

#[tokio::test]
async fn money_goes_back_once_and_no_more_than_there_was() {
    let (books, _folder) = books().await;
    made(books.create(payment("a"), None, told(1)).await.unwrap());
    let refund = |id: &str, amount| Refund { id: id.into(), payment: "a".into(), reference: None, amount, created_at: at(5) };
    let eur: Currency = "EUR".parse().unwrap();
    assert!(matches!(books.refund(refund("r", 1), eur, None, told(2)).await.unwrap(), Outcome::UnexpectedState(_)));
    made(books.act("token-a".into(), Act::Pay, told(3)).await.unwrap());
    made(books.change("a".into(), Change::Capture, told(4)).await.unwrap());
    assert!(matches!(books.refund(refund("r", 5_000), eur, None, told(5)).await.unwrap(), Outcome::TooMuch));
    assert!(matches!(books.refund(refund("r", 4_000), "USD".parse().unwrap(), None, told(5)).await.unwrap(), Outcome::UnexpectedState(_)));
    assert!(matches!(books.refund(refund("r1", 4_000), eur, key("k", "f", 5, 5), told(5)).await.unwrap(), Outcome::Made(_)));
    assert!(
        matches!(books.refund(refund("r2", 4_000), eur, key("k", "f", 6, 5), told(6)).await.unwrap(), Outcome::Before(found) if found.id == "r1")
    );
    assert!(matches!(books.refund(refund("r2", 4_000), eur, key("k", "f", 60, 5), told(60)).await.unwrap(), Outcome::TooMuch));
    assert_eq!(books.refunds("a".into()).await.unwrap().unwrap().len(), 1);
    assert_eq!(books.payment("a".into()).await.unwrap().unwrap().refunded, 4_000);
}

#[tokio::test]
async fn what_is_written_is_there_after_the_file_was_opened_again() {
    let (books, folder) = books().await;
    made(books.create(payment("a"), None, Told { now: at(1), copies: vec![0, 7] }).await.unwrap());
    made(books.act("token-a".into(), Act::Later(at(50)), Told { now: at(2), copies: Copies::new() }).await.unwrap());
    books.set("faults", "{}".into()).await.unwrap();
    // As it is when the process is killed: nobody closes anything.
    let again = Books::open(&folder.path().join("books")).await.unwrap();
    assert_eq!(again.setting("faults").await.unwrap().as_deref(), Some("{}"));
    assert_eq!(again.payment("a".into()).await.unwrap().unwrap().state, State::Processing);
    let kinds: Vec<i64> = again.events(0, 10).await.unwrap().iter().map(|event| event.number).collect();
    assert_eq!(kinds, [1, 2]);
    assert_eq!(again.events(1, 10).await.unwrap().len(), 1);
    assert_eq!(again.newest_events(1).await.unwrap()[0].number, 2);
    let due = again.due(at(5), 10).await.unwrap();
    assert_eq!(due.iter().map(|delivery| delivery.event).collect::<Vec<_>>(), [1]);
    again.postpone(due[0].id, at(90)).await.unwrap();
    assert_eq!(again.next_due(true).await.unwrap(), Some(at(8)));
    assert_eq!(again.next_due(false).await.unwrap(), Some(at(50)));
    let due = again.due(at(90), 10).await.unwrap();
    assert_eq!(due.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [0, 1]);
    for delivery in due {
        again.delivered(delivery.id).await.unwrap();
    }
    assert_eq!(again.next_due(true).await.unwrap(), Some(at(50)));
}
