//! The sandbox as people, tests and shops meet it: its page, its books over kills, its messages.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster::clock;
use doorbuster::payments::provider::{Amount, NewPayment, Scheme, State};
use doorbuster::payments::webhook::Verifier;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use crate::support::sandbox::{Mailbox, SandboxProgram};

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn payment(reference: &str) -> NewPayment {
    NewPayment {
        key: reference.to_owned(),
        reference: reference.to_owned(),
        order: "order <1>".to_owned(),
        amount: Amount { minor: 4_999, currency: "EUR".parse().unwrap() },
        description: "Lamp".to_owned(),
        return_url: Some("https://shop.example/thanks".to_owned()),
        started_at: clock::system(),
        expires_at: clock::system().plus_millis(60_000),
    }
}

async fn json_of(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_person_pays_by_pressing_a_button() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none")]);
    let created = sandbox.provider().create(&payment("p-1")).await.unwrap();
    let browser = client();
    let html = |url: &str| browser.get(url).header(header::ACCEPT, "text/html,application/xhtml+xml");
    let page = html(&created.checkout_url).send().await.unwrap();
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text().await.unwrap();
    for part in ["49.99 EUR", "Lamp", "order &lt;1&gt;", "<html lang=\"en\">", "no real money", "https://shop.example/thanks", "<button"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let style = format!("{}/sandbox/style.css", sandbox.url());
    assert!(browser.get(style).send().await.unwrap().headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/css"));
    let pressed = browser.post(format!("{}/pay", created.checkout_url)).header(header::ACCEPT, "text/html").send().await.unwrap();
    assert_eq!(pressed.status(), StatusCode::SEE_OTHER);
    assert!(pressed.headers()[header::LOCATION].to_str().unwrap().starts_with("../"));
    let text = html(&created.checkout_url).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("<h1>Paid</h1>") && !text.contains("<button"), "{text}");
    assert_eq!(sandbox.provider().fetch(&created.id).await.unwrap().state, State::Authorized);
    let nowhere = html(&format!("{}/sandbox/checkout/x", sandbox.url())).send().await.unwrap();
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_word_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", "none")]);
    let (client, url) = (client(), format!("{}/sandbox", sandbox.url()));
    let post = |path: &str, body: Value| client.post(format!("{url}{path}")).bearer_auth(sandbox.secret()).json(&body);
    for body in [
        json!({}),
        json!({"amount": 0, "currency": "EUR"}),
        json!({"amount": 1, "currency": "ZZZ"}),
        json!({"amount": 1.5, "currency": "EUR"}),
        json!({"amount": 1, "currency": "EUR", "return_url": "javascript:alert(1)"}),
        json!({"amount": 1, "currency": "EUR", "amout": 1}),
    ] {
        let (status, answer) = json_of(post("/payments", body.clone())).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")), "{body}");
    }
    let (status, answer) = json_of(client.post(format!("{url}/payments")).json(&json!({"amount": 1, "currency": "EUR"}))).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::UNAUTHORIZED, &json!("unauthenticated")));
    for faults in [json!({"lose": 2}), json!({"loose": 1}), json!("none")] {
        assert_eq!(json_of(client.put(format!("{url}/faults")).json(&faults)).await.0, StatusCode::BAD_REQUEST, "{faults}");
    }
    let large = client.post(format!("{url}/payments")).bearer_auth(sandbox.secret()).body(vec![b' '; 70_000]).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.delete(format!("{url}/payments")).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn its_books_are_the_same_after_it_was_killed_and_its_messages_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::open(0);
    let url = mailbox.url();
    let nowhere = [("DOORBUSTER__SANDBOX__WEBHOOK_URL", "http://127.0.0.1:1/")];
    let sandbox = SandboxProgram::start(folder.path(), &nowhere);
    let (provider, client) = (sandbox.provider(), client());
    let mut known = BTreeMap::new();
    for number in 0..20 {
        let created = provider.create(&payment(&format!("p-{number}"))).await.unwrap();
        if number % 2 == 0 {
            client.post(format!("{}/pay", created.checkout_url)).send().await.unwrap();
        }
        if number % 4 == 0 {
            provider.capture(&created.id).await.unwrap();
        }
        known.insert(created.id.clone(), provider.fetch(&created.id).await.unwrap());
    }
    let later = provider.create(&payment("later")).await.unwrap();
    let path = later.checkout_url.split_once("/sandbox/").unwrap().1.to_owned();
    client.post(format!("{}/later?seconds=1", later.checkout_url)).send().await.unwrap();
    sandbox.kill();

    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", &url)]);
    let provider = sandbox.provider();
    for (id, view) in &known {
        assert_eq!(provider.fetch(id).await.unwrap(), *view);
    }
    assert_eq!(
        provider.create(&payment("p-0")).await.map(|_| ()),
        Err(doorbuster::payments::provider::ProviderError::KeyReused),
        "another time in it"
    );
    // 20 were made, 10 paid, 5 captured; one more was made, processes, and succeeds by itself.
    let messages = mailbox.wait_for(20 + 10 + 5 + 3).await;
    let kinds = |kind: &str| messages.iter().filter(|message| message.json()["type"] == kind).count();
    assert_eq!((kinds("payment.created"), kinds("payment.authorized"), kinds("payment.captured")), (21, 11, 5));
    let (_, page) = json_of(client.get(format!("{}/sandbox/{path}", sandbox.url()))).await;
    assert_eq!(page["state"], "authorized");
}

#[tokio::test]
async fn messages_are_signed_repeated_until_they_are_taken_and_doubled_and_lost_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::open(1);
    let url = mailbox.url();
    let sandbox = SandboxProgram::start(folder.path(), &[("DOORBUSTER__SANDBOX__WEBHOOK_URL", &url)]);
    let (provider, client) = (sandbox.provider(), client());
    let faults = format!("{}/sandbox/faults", sandbox.url());
    let created = provider.create(&payment("p-1")).await.unwrap();
    let message = mailbox.wait_for(1).await.remove(0);
    let verifier = Verifier::new(Scheme::Standard, &[sandbox.webhook_secret().into()]).unwrap();
    let notice = verifier.verify(&message, &message.body, clock::system()).unwrap().unwrap();
    assert_eq!(
        (notice.kind.as_str(), notice.object.as_deref(), notice.reference.as_deref()),
        ("payment.created", Some(created.id.as_str()), Some("p-1"))
    );
    assert!(!String::from_utf8_lossy(&message.body).contains("checkout"), "where it is paid is the buyer's to know");

    let (status, set) = json_of(client.put(&faults).json(&json!({"double": 1.0, "delay_ms": 50}))).await;
    assert_eq!((status, &set["double"], &set["lose"]), (StatusCode::OK, &json!(1.0), &json!(0.0)));
    for number in 0..10 {
        provider.create(&payment(&format!("doubled-{number}"))).await.unwrap();
    }
    let doubled = mailbox.wait_for(1 + 20).await;
    let ids: BTreeSet<&str> = doubled[1..].iter().map(|message| message.header("webhook-id").unwrap()).collect();
    assert_eq!(ids.len(), 10, "each twice, under one id");

    client.put(&faults).json(&json!({"lose": 1.0})).send().await.unwrap();
    let lost = provider.create(&payment("lost")).await.unwrap();
    client.put(&faults).json(&json!({})).send().await.unwrap();
    provider.create(&payment("told")).await.unwrap();
    let all = mailbox.wait_for(1 + 20 + 1).await;
    assert_eq!(all.last().unwrap().json()["data"]["reference"], "told");
    let events = provider.events(Some(&notice.event)).await.unwrap();
    assert!(events.items.iter().any(|event| event.object.as_deref() == Some(&lost.id)), "what was not told is in the list");
}
