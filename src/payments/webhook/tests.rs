//! Messages that are taken, and all the ways in which one is not.

use std::collections::BTreeMap;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NOW: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"type":"payment.captured","data":{"id":"pay_1","reference":"r-1","amount":1}}"#;
const STRIPE_BODY: &[u8] =
    br#"{"id":"evt_1","object":"event","type":"checkout.session.completed","data":{"object":{"id":"cs_1","client_reference_id":"r-1"}}}"#;

impl Headers for BTreeMap<&str, String> {
    fn header(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000).unwrap()
}

fn verifier(scheme: Scheme, secrets: &[&str]) -> Verifier {
    Verifier::new(scheme, &secrets.iter().map(|secret| SecretString::from(*secret)).collect::<Vec<_>>()).unwrap()
}

fn standard(secret: &str, seconds: i64) -> BTreeMap<&'static str, String> {
    let signature = sign_standard(secret, "msg_1", at(seconds), BODY).unwrap();
    BTreeMap::from([("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", seconds.to_string()), ("webhook-signature", signature)])
}

fn stripe(secret: &str, seconds: i64) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("stripe-signature", sign_stripe(secret, at(seconds), STRIPE_BODY).unwrap())])
}

/// The example of the specification's libraries, so that it is not only our own signing that is understood.
#[test]
fn the_published_example_is_understood() {
    let body = br#"{"test": 2432232314}"#;
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(sign_standard(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", at(NOW), body).unwrap(), signature);
    let headers = BTreeMap::from([
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()),
        ("webhook-timestamp", NOW.to_string()),
        ("webhook-signature", signature.to_owned()),
    ]);
    assert_eq!(verifier(Scheme::Standard, &[SECRET]).verify(&headers, body, at(NOW)), Ok(None), "it is theirs, and says nothing we know");
}

#[test]
fn a_good_message_says_what_to_ask_about_and_nothing_more() {
    let expected = |event: &str, kind: &str, object: &str| {
        Ok(Some(Notice { event: event.into(), kind: kind.into(), object: Some(object.into()), reference: Some("r-1".into()) }))
    };
    let found = verifier(Scheme::Standard, &[SECRET]).verify(&standard(SECRET, NOW), BODY, at(NOW));
    assert_eq!(found, expected("msg_1", "payment.captured", "pay_1"));
    let found = verifier(Scheme::Stripe, &[SECRET]).verify(&stripe(SECRET, NOW), STRIPE_BODY, at(NOW));
    assert_eq!(found, expected("evt_1", "checkout.session.completed", "cs_1"));
}

#[test]
fn a_message_is_of_now_within_five_minutes_either_way() {
    for (apart, is_good) in [(0, true), (300, true), (-300, true), (301, false), (-301, false), (86_400, false)] {
        let found = verifier(Scheme::Standard, &[SECRET]).verify(&standard(SECRET, NOW + apart), BODY, at(NOW));
        assert_eq!(found.is_ok(), is_good, "{apart}");
        let found = verifier(Scheme::Stripe, &[SECRET]).verify(&stripe(SECRET, NOW + apart), STRIPE_BODY, at(NOW));
        assert_eq!(found.is_ok(), is_good, "{apart}");
    }
}

#[test]
fn while_secrets_are_rotated_either_side_may_have_two() {
    for (secrets, signed_with, is_good) in
        [(&[SECRET, OTHER][..], OTHER, true), (&[SECRET, OTHER][..], SECRET, true), (&[SECRET][..], OTHER, false), (&[][..], SECRET, false)]
    {
        let found = verifier(Scheme::Standard, secrets).verify(&standard(signed_with, NOW), BODY, at(NOW));
        assert_eq!(found.is_ok(), is_good);
        let found = verifier(Scheme::Stripe, secrets).verify(&stripe(signed_with, NOW), STRIPE_BODY, at(NOW));
        assert_eq!(found.is_ok(), is_good);
    }
    let mut headers = standard(OTHER, NOW);
    let both = format!("v1a,aaaa v1,!! {} {}", headers["webhook-signature"], standard(SECRET, NOW)["webhook-signature"]);
    headers.insert("webhook-signature", both);
    assert!(verifier(Scheme::Standard, &[SECRET]).verify(&headers, BODY, at(NOW)).is_ok());
    let (theirs, other) = (stripe(SECRET, NOW)["stripe-signature"].clone(), stripe(OTHER, NOW)["stripe-signature"].clone());
    let both = BTreeMap::from([("stripe-signature", format!("{other},v0=00,{}", theirs.split_once(',').unwrap().1))]);
    assert!(verifier(Scheme::Stripe, &[SECRET]).verify(&both, STRIPE_BODY, at(NOW)).is_ok());
}

#[test]
fn whatever_is_changed_of_a_message_makes_it_nobodys() {
    let known = verifier(Scheme::Standard, &[SECRET]);
    let good = standard(SECRET, NOW);
    for (name, value) in [
        ("webhook-id", "msg_2".to_owned()),
        ("webhook-id", "msg_1.x".to_owned()),
        ("webhook-id", String::new()),
        ("webhook-id", "x".repeat(256)),
        ("webhook-timestamp", (NOW + 1).to_string()),
        ("webhook-timestamp", format!("+{NOW}")),
        ("webhook-timestamp", "now".to_owned()),
        ("webhook-timestamp", "9".repeat(400)),
        ("webhook-signature", good["webhook-signature"].replace("v1,", "v2,")),
        ("webhook-signature", good["webhook-signature"].replace("v1,", "")),
        ("webhook-signature", String::new()),
        ("webhook-signature", format!("{} {}", "v1,AAAA ".repeat(20), good["webhook-signature"])),
    ] {
        let mut headers = good.clone();
        headers.insert(name, value.clone());
        assert_eq!(known.verify(&headers, BODY, at(NOW)), Err(BadSignature), "{name}: {value}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut headers = good.clone();
        headers.remove(name);
        assert_eq!(known.verify(&headers, BODY, at(NOW)), Err(BadSignature), "{name}");
    }
    let spaced = String::from_utf8_lossy(BODY).replace(':', ": ");
    assert_eq!(known.verify(&good, spaced.as_bytes(), at(NOW)), Err(BadSignature), "the same JSON in other bytes");
    assert_eq!(known.verify(&stripe(SECRET, NOW), BODY, at(NOW)), Err(BadSignature), "another scheme");

    let known = verifier(Scheme::Stripe, &[SECRET]);
    let good = stripe(SECRET, NOW)["stripe-signature"].clone();
    for header in [
        good.replace("v1=", "v0="),
        good.replace("v1=", "v1=0"),
        good.replace("t=", "x="),
        format!("t={},{good}", NOW + 1),
        good.split_once(',').unwrap().0.to_owned(),
        String::new(),
    ] {
        let headers = BTreeMap::from([("stripe-signature", header.clone())]);
        assert_eq!(known.verify(&headers, STRIPE_BODY, at(NOW)), Err(BadSignature), "{header}");
    }
}

#[test]
fn a_message_that_says_nothing_we_can_use_is_taken_all_the_same() {
    let known = verifier(Scheme::Standard, &[SECRET]);
    for body in ["", "[]", "{}", "not json", r#"{"type":7}"#, r#"{"type":"a b"}"#] {
        let mut headers = standard(SECRET, NOW);
        headers.insert("webhook-signature", sign_standard(SECRET, "msg_1", at(NOW), body.as_bytes()).unwrap());
        assert_eq!(known.verify(&headers, body.as_bytes(), at(NOW)), Ok(None), "{body}");
    }
    let mut headers = standard(SECRET, NOW);
    let body = br#"{"type":"ping","data":{"id":"a b"}}"#;
    headers.insert("webhook-signature", sign_standard(SECRET, "msg_1", at(NOW), body).unwrap());
    let notice = known.verify(&headers, body, at(NOW)).unwrap().unwrap();
    assert_eq!((notice.object, notice.reference), (None, None));
}

#[test]
fn a_secret_that_is_none_is_told_without_being_shown() {
    for (scheme, secret) in [(Scheme::Standard, "whsec_sesame"), (Scheme::Standard, "sesame open!"), (Scheme::Stripe, "sesame")] {
        let told = Verifier::new(scheme, &[secret.into()]).unwrap_err();
        assert!(!told.contains("sesame"), "{told}");
    }
}
