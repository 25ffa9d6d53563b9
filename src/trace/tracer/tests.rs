//! Who decides what is traced; and an endpoint that is not there.

use super::*;

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNRECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn settings(endpoint: &str, ratio: f64, follows_caller: bool) -> config::Telemetry {
    config::Telemetry {
        filter: String::new(),
        format: config::LogFormat::Text,
        traces_endpoint: Some(endpoint.into()),
        traces_ratio: ratio,
        traces_follow_caller: follows_caller,
        service_name: None,
    }
}

fn tracer(ratio: f64, follows_caller: bool) -> Tracer {
    // Nobody listens there.
    Tracer::start(&settings("http://127.0.0.1:9/v1/traces", ratio, follows_caller), "test", "one").expect("a good endpoint")
}

fn is_callers(span: &Span) -> bool {
    span.context().trace == Context::parse(CALLER).unwrap().0.trace
}

#[tokio::test]
async fn a_stranger_neither_forces_a_trace_nor_prevents_one() {
    let (never, always) = (tracer(0.0, false), tracer(1.0, false));
    assert!(never.request(|| Some(CALLER)).is_none());
    assert!(is_callers(&always.request(|| Some(CALLER)).unwrap()), "it joins the caller's trace");
    assert!(always.request(|| Some(UNRECORDED)).is_some());
}

#[tokio::test]
async fn a_trusted_caller_that_names_a_trace_decides_and_our_dice_where_none_does() {
    let (never, always) = (tracer(0.0, true), tracer(1.0, true));
    assert!(is_callers(&never.request(|| Some(CALLER)).unwrap()));
    assert!(always.request(|| Some(UNRECORDED)).is_none());
    for nothing in [None, Some("junk")] {
        assert!(never.request(|| nothing).is_none());
        assert!(!is_callers(&always.request(|| nothing).unwrap()));
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_traced_and_nothing_runs() {
    let off = Tracer::off();
    assert!(!off.is_on() && off.request(|| Some(CALLER)).is_none() && off.follow(Context::parse(CALLER).unwrap().0).is_none());
    off.shut().await;
}

#[tokio::test]
async fn spans_beyond_the_bound_are_lost_at_once_and_a_stop_does_not_wait_for_an_endpoint_that_is_away() {
    let tracer = tracer(1.0, false);
    // The exporting task has no turn before the first await.
    for _ in 0..WAITING_MAX + 10 {
        drop(tracer.request(|| None));
    }
    assert_eq!(tracer.0.as_ref().unwrap().spans.capacity(), 0);
    tracer.shut().await;
    drop(tracer.request(|| None));
    tracer.shut().await;
}

#[tokio::test]
async fn a_place_for_spans_that_needs_tls_or_is_none_is_refused_in_one_line_that_says_how_to_do_without() {
    for endpoint in ["https://collector:4318/v1/traces", "http://[/v1/traces"] {
        let refusal = Tracer::start(&settings(endpoint, 1.0, false), "test", "one").expect_err("no such place").to_string();
        assert!(refusal.lines().count() == 1 && refusal.contains("DOORBUSTER__TELEMETRY__TRACES_ENDPOINT to nothing"), "{refusal}");
    }
}
