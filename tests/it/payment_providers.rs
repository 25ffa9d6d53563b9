//! What every payment provider is asked, and answers: the same tests with a real sandbox and with a stand-in that is strict about Stripe's
//! published shape.

use std::time::Duration;

use doorbuster::clock;
use doorbuster::payments::provider::{
    Amount, Cancelling, Capturing, NewPayment, NewRefund, Provider, ProviderError, RefundState, Scheme, State, View,
};
use reqwest::StatusCode;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::sandbox::{SandboxProgram, settings};
use crate::support::stripe::{self, Next, StripeStandIn};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sandbox,
    Stripe,
}

/// A provider, and what a test can do behind its counter.
struct Till {
    provider: Provider,
    place: Place,
    client: reqwest::Client,
}

enum Place {
    Sandbox(SandboxProgram, #[expect(dead_code, reason = "the books' folder, as long as they are used")] tempfile::TempDir),
    Stripe(StripeStandIn),
}

impl Till {
    fn open(kind: Kind) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        match kind {
            Kind::Sandbox => {
                let folder = tempfile::tempdir().unwrap();
                let program = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none")]);
                Self { provider: program.provider(), place: Place::Sandbox(program, folder), client }
            }
            Kind::Stripe => {
                let stand_in = StripeStandIn::start();
                let provider = Provider::new(&settings(Scheme::Stripe, &stand_in.url(), stripe::SECRET)).unwrap();
                Self { provider, place: Place::Stripe(stand_in), client }
            }
        }
    }

    fn url(&self) -> String {
        match &self.place {
            Place::Sandbox(program, _) => format!("{}/sandbox", program.url()),
            Place::Stripe(stand_in) => stand_in.url(),
        }
    }

    /// The buyer does something at the page.
    async fn at_page(&self, id: &str, what: &str) -> StatusCode {
        let payment: Value = self.client.get(format!("{}/payments/{id}", self.url())).send().await.unwrap().json().await.unwrap();
        let url = format!("{}/{what}", payment["checkout_url"].as_str().unwrap());
        self.client.post(url).send().await.unwrap().status()
    }

    async fn pay(&self, id: &str) {
        match &self.place {
            Place::Sandbox(..) => assert_eq!(self.at_page(id, "pay").await, StatusCode::OK),
            Place::Stripe(stand_in) => stand_in.pay(id),
        }
    }

    async fn pay_slowly(&self, id: &str) {
        match &self.place {
            Place::Sandbox(..) => assert_eq!(self.at_page(id, "later?seconds=1").await, StatusCode::OK),
            Place::Stripe(stand_in) => stand_in.pay_slowly(id),
        }
    }

    /// What was paid slowly is there.
    async fn settle(&self, id: &str) -> View {
        if let Place::Stripe(stand_in) = &self.place {
            stand_in.settle(id, true);
        }
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        loop {
            let view = self.provider.fetch(id).await.unwrap();
            if view.state != State::Processing {
                break view;
            }
            pause.tick().await;
        }
    }

    async fn forget_keys(&self) {
        match &self.place {
            Place::Sandbox(..) => self.faults(json!({"forget_keys_after_s": 0})).await,
            Place::Stripe(stand_in) => stand_in.forget_keys(),
        }
    }

    async fn faults(&self, faults: Value) {
        let answer = self.client.put(format!("{}/faults", self.url())).body(faults.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    async fn create(&self, reference: &str) -> String {
        self.provider.create(&payment(reference)).await.unwrap().id
    }

    /// A payment whose money was taken.
    async fn captured(&self, reference: &str) -> String {
        let id = self.create(reference).await;
        self.pay(&id).await;
        assert!(matches!(self.provider.capture(&id).await.unwrap(), Capturing::Captured(_)));
        id
    }

    fn assert_content(&self) {
        if let Place::Stripe(stand_in) = &self.place {
            assert_eq!(stand_in.complaints(), [""; 0]);
        }
    }
}

fn payment(reference: &str) -> NewPayment {
    let started_at = clock::system();
    NewPayment {
        key: format!("key-{reference}"),
        reference: reference.to_owned(),
        order: "an order".to_owned(),
        amount: Amount { minor: 4_999, currency: "EUR".parse().unwrap() },
        description: "Brass lamp & more".to_owned(),
        return_url: Some("https://shop.example/thanks?order=1".to_owned()),
        started_at,
        expires_at: started_at.plus_millis(120_000),
    }
}

fn refund(payment: &str, key: &str) -> NewRefund {
    let amount = Amount { minor: 4_999, currency: "EUR".parse().unwrap() };
    NewRefund { key: key.to_owned(), payment: payment.to_owned(), reference: "refund-1".to_owned(), amount }
}

#[rstest]
#[tokio::test]
async fn a_payment_is_made_once_under_its_key_and_is_what_was_asked_for(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let new = payment("p-1");
    let created = till.provider.create(&new).await.unwrap();
    assert_eq!(created.state, State::Open);
    assert!(created.checkout_url.starts_with("http"));
    assert_eq!(till.provider.create(&new).await.unwrap(), created, "the same again");
    let other = NewPayment { description: "something else".to_owned(), ..new.clone() };
    assert_eq!(till.provider.create(&other).await, Err(ProviderError::KeyReused));
    let view = till.provider.fetch(&created.id).await.unwrap();
    let expected = View {
        id: created.id.clone(),
        reference: Some("p-1".to_owned()),
        state: State::Open,
        amount: new.amount,
        authorized: 0,
        captured: 0,
        refunded: 0,
    };
    assert_eq!(view, expected);
    till.forget_keys().await;
    assert_ne!(till.provider.create(&new).await.unwrap().id, created.id, "a key that is forgotten makes another");
    assert_eq!(till.provider.fetch("nobody-knows-this").await, Err(ProviderError::Missing));
    assert_eq!(till.provider.fetch("../events").await, Err(ProviderError::Missing));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn money_is_set_aside_then_taken_once(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let id = till.create("p-1").await;
    assert!(matches!(till.provider.capture(&id).await.unwrap(), Capturing::Impossible(view) if view.state == State::Open));
    till.pay(&id).await;
    let view = till.provider.fetch(&id).await.unwrap();
    assert_eq!((view.state, view.authorized, view.captured), (State::Authorized, 4_999, 0));
    for _ in 0..2 {
        let Capturing::Captured(view) = till.provider.capture(&id).await.unwrap() else { panic!("it was set aside") };
        assert_eq!((view.state, view.authorized, view.captured, view.refunded), (State::Captured, 4_999, 4_999, 0));
    }
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn a_payment_can_be_called_off_until_somebody_has_paid(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let id = till.create("p-1").await;
    for _ in 0..2 {
        assert!(matches!(till.provider.cancel(&id).await.unwrap(), Cancelling::Over(view) if view.state == State::Cancelled));
    }
    if let Kind::Sandbox = kind {
        assert_eq!(till.at_page(&id, "pay").await, StatusCode::CONFLICT);
    }
    let id = till.create("p-2").await;
    till.pay(&id).await;
    assert!(matches!(till.provider.cancel(&id).await.unwrap(), Cancelling::Succeeded(view) if view.state == State::Authorized));
    assert!(matches!(till.provider.capture(&id).await.unwrap(), Capturing::Captured(_)));
    assert!(matches!(till.provider.cancel(&id).await.unwrap(), Cancelling::Succeeded(view) if view.state == State::Captured));
    assert!(matches!(till.provider.void(&id).await.unwrap(), Cancelling::Succeeded(view) if view.state == State::Captured));
    assert_eq!(till.provider.cancel("nobody-knows-this").await, Err(ProviderError::Missing));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn what_is_set_aside_can_be_let_go_and_then_nobody_is_charged(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let id = till.create("p-1").await;
    till.pay(&id).await;
    for _ in 0..2 {
        let Cancelling::Over(view) = till.provider.void(&id).await.unwrap() else { panic!("it was set aside") };
        assert_eq!((view.state, view.captured, view.refunded), (State::Cancelled, 0, 0));
    }
    assert!(matches!(till.provider.capture(&id).await.unwrap(), Capturing::Impossible(view) if view.state == State::Cancelled));
    let open = till.create("p-2").await;
    assert!(matches!(till.provider.void(&open).await.unwrap(), Cancelling::Over(_)));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn what_is_on_its_way_can_not_be_called_off_and_succeeds_later(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let id = till.create("p-1").await;
    till.pay_slowly(&id).await;
    assert!(matches!(till.provider.cancel(&id).await.unwrap(), Cancelling::Processing(_)));
    assert!(matches!(till.provider.void(&id).await.unwrap(), Cancelling::Processing(_)));
    assert!(matches!(till.provider.capture(&id).await.unwrap(), Capturing::Impossible(view) if view.state == State::Processing));
    assert_eq!(till.settle(&id).await.state, State::Authorized);
    let id = till.create("p-2").await;
    match &till.place {
        Place::Sandbox(..) => assert_eq!(till.at_page(&id, "decline").await, StatusCode::OK),
        Place::Stripe(stand_in) => {
            stand_in.pay_slowly(&id);
            stand_in.settle(&id, false);
        }
    }
    assert!(matches!(till.provider.cancel(&id).await.unwrap(), Cancelling::Over(view) if view.state == State::Failed));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn money_goes_back_once_and_is_found_before_it_is_sent_again(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let id = till.captured("p-1").await;
    assert_eq!(till.provider.refunds(&id).await.unwrap(), []);
    let first = till.provider.refund(&refund(&id, "k")).await.unwrap();
    assert_eq!((first.state, first.amount, first.reference.as_deref()), (RefundState::Done, 4_999, Some("refund-1")));
    assert_eq!(till.provider.refund(&refund(&id, "k")).await.unwrap(), first, "the same again");
    till.forget_keys().await;
    assert_eq!(till.provider.refunds(&id).await.unwrap(), [first]);
    assert!(matches!(till.provider.refund(&refund(&id, "k")).await, Err(ProviderError::Refused { .. })), "it has gone back");
    let view = till.provider.fetch(&id).await.unwrap();
    assert_eq!((view.state, view.captured, view.refunded), (State::Captured, 4_999, 4_999));
    let unpaid = till.create("p-2").await;
    assert!(matches!(till.provider.refund(&refund(&unpaid, "k2")).await, Err(ProviderError::Refused { .. })));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn events_are_listed_from_one_on_in_their_order(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let first = till.create("p-1").await;
    till.pay(&first).await;
    let newest = till.provider.events(None).await.unwrap();
    let after = newest.items.last().unwrap().id.clone();
    assert!(newest.items.iter().all(|event| event.reference.as_deref() == Some("p-1")) && !newest.more);
    let second = till.captured("p-2").await;
    till.provider.refund(&refund(&second, "k")).await.unwrap();
    let later = till.provider.events(Some(&after)).await.unwrap();
    assert!(!later.more && later.items.len() >= 3, "{later:?}");
    assert!(later.items.iter().all(|event| event.reference.as_deref().is_none_or(|reference| reference == "p-2")), "{later:?}");
    assert_eq!(later.items.iter().filter(|event| event.object.as_deref() == Some(&second)).count() > 0, true);
    let last = later.items.last().unwrap();
    assert!(last.kind.contains("refunded"), "{last:?}");
    assert_eq!(till.provider.events(Some(&last.id)).await.unwrap().items, []);
    assert_eq!(till.provider.events(Some("evt_nobody_knows")).await, Err(ProviderError::Missing));
    till.assert_content();
}

#[rstest]
#[tokio::test]
async fn many_events_come_page_by_page_and_none_is_left_out(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let first = till.create("p-0").await;
    till.provider.cancel(&first).await.unwrap();
    let mut after = till.provider.events(None).await.unwrap().items.last().unwrap().id.clone();
    let mut made = std::collections::BTreeSet::new();
    for number in 1..=130 {
        let id = till.create(&format!("p-{number}")).await;
        till.provider.cancel(&id).await.unwrap();
        made.insert(id);
    }
    let mut pages = 0;
    loop {
        let events = till.provider.events(Some(&after)).await.unwrap();
        pages += 1;
        for event in &events.items {
            made.remove(event.object.as_deref().unwrap());
        }
        let Some(last) = events.items.last() else { break };
        after = last.id.clone();
        if !events.more {
            break;
        }
    }
    assert!(made.is_empty() && pages > 1, "{pages} pages, and without {made:?}");
}

#[rstest]
#[tokio::test]
async fn a_provider_that_is_away_or_does_not_know_us_has_done_nothing(#[values(Scheme::Standard, Scheme::Stripe)] scheme: Scheme) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sandbox", free.local_addr().unwrap());
    drop(free);
    let provider = Provider::new(&settings(scheme, &url, "x")).unwrap();
    let away = provider.create(&payment("p-1")).await.unwrap_err();
    assert!(matches!(away, ProviderError::Away(_)) && away.is_nothing_done() && away.is_passing(), "{away:?}");
    // It takes the request, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/sandbox", silent.local_addr().unwrap());
    let mut short = settings(scheme, &url, "x");
    short.timeout = Duration::from_millis(100);
    let unknown = Provider::new(&short).unwrap().create(&payment("p-1")).await.unwrap_err();
    assert!(matches!(unknown, ProviderError::Unknown(_)) && !unknown.is_nothing_done(), "{unknown:?}");
}

#[rstest]
#[tokio::test]
async fn another_secret_is_not_taken(#[values(Kind::Sandbox, Kind::Stripe)] kind: Kind) {
    let till = Till::open(kind);
    let scheme = if let Kind::Sandbox = kind { Scheme::Standard } else { Scheme::Stripe };
    let stranger = Provider::new(&settings(scheme, &till.url(), "another")).unwrap();
    assert_eq!(stranger.create(&payment("p-1")).await, Err(ProviderError::Credentials));
}

#[tokio::test]
async fn what_a_sandbox_did_and_did_not_tell_is_found_under_the_key() {
    let till = Till::open(Kind::Sandbox);
    till.faults(json!({"fail": 1.0})).await;
    let new = payment("p-1");
    for _ in 0..20 {
        assert!(matches!(till.provider.create(&new).await, Err(ProviderError::Unknown(_))));
    }
    till.faults(json!({})).await;
    let created = till.provider.create(&new).await.unwrap();
    let events: Value = till.client.get(format!("{}/events", till.url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "made once: {events}");
    assert_eq!(events["items"][0]["data"]["id"], json!(created.id));
    // A sandbox that hangs is asked no longer than it is allowed to take.
    till.faults(json!({"hang_ms": 60_000})).await;
    let Place::Sandbox(program, _) = &till.place else { unreachable!("it is one") };
    let mut short = settings(Scheme::Standard, &till.url(), &program.secret());
    short.timeout = Duration::from_millis(150);
    let impatient = Provider::new(&short).unwrap();
    assert!(matches!(impatient.fetch(&created.id).await, Err(ProviderError::Unknown(_))));
    // Whoever looks into the books is not held up.
    assert_eq!(till.at_page(&created.id, "pay").await, StatusCode::OK);
}

#[tokio::test]
async fn what_stripe_says_when_it_has_too_much_to_do_or_fails_is_told_apart() {
    let till = Till::open(Kind::Stripe);
    let Place::Stripe(stand_in) = &till.place else { unreachable!("it is one") };
    let new = payment("p-1");
    stand_in.next(Next::TooMany);
    assert!(matches!(till.provider.create(&new).await, Err(ProviderError::Busy { .. })));
    stand_in.next(Next::KeyInUse);
    assert!(matches!(till.provider.create(&new).await, Err(ProviderError::Unknown(_))));
    stand_in.next(Next::FailKept);
    assert!(matches!(till.provider.create(&new).await, Err(ProviderError::Unknown(_))));
    assert_eq!(till.provider.create(&new).await, Err(ProviderError::KeySpent), "the key keeps the failure");
    let another = NewPayment { key: "another".to_owned(), ..new.clone() };
    let created = till.provider.create(&another).await.unwrap();
    let session = stand_in.session(&created.id);
    assert_eq!((session["amount_total"].as_i64(), session["currency"].as_str()), (Some(4_999), Some("eur")));
    let lasts = session["expires_at"].as_i64().unwrap() * 1_000 - new.started_at.millis();
    assert!((30 * 60_000..60 * 60_000).contains(&lasts), "longer than Stripe's least, however short the hold is: {lasts} ms");
    let unsendable = NewPayment { amount: Amount { minor: 1_234, currency: "KWD".parse().unwrap() }, key: "kwd".to_owned(), ..new };
    assert!(matches!(till.provider.create(&unsendable).await, Err(ProviderError::Refused { .. })));
    till.assert_content();
}
