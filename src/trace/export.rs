//! Sending spans by OTLP, a batch at a time, in a task of its own. An endpoint that is away or slow costs spans and a line in the
//! log now and then, never memory and nobody's time.
//!
//! The SDK's own batch processor is not used: it exports on a thread without a runtime, where an asynchronous client panics
//! (<https://github.com/open-telemetry/opentelemetry-rust/issues/3125>), and what it drops it does not count.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::telemetry::TelemetryError;

/// Spans in one request to the endpoint, at most.
const BATCH_MAX: usize = 512;
/// How long a span may wait for others to travel with.
const GATHER: Duration = Duration::from_millis(200);
/// How long the endpoint may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two lines about an endpoint that does not take spans.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Why an endpoint is refused.
const NO_TLS: &str = "telemetry.traces_endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) must begin with http://: spans are sent without TLS, so name a \
                      collector in the same network and let that one speak TLS";

/// The exporter to that endpoint, of a process of that name.
pub(super) fn exporter(endpoint: &str, service: &str, id: &str) -> Result<SpanExporter, TelemetryError> {
    let wrong = |error: &dyn std::fmt::Display| TelemetryError::Traces(one_line(&error.to_string()));
    if !endpoint.starts_with("http://") {
        return Err(TelemetryError::Traces(NO_TLS.to_owned()));
    }
    // The endpoint is in our own network: proxies of the environment are not for it.
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client.map_err(|error| wrong(&error))?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| wrong(&error))?;
    let resource = Resource::builder().with_service_name(service.to_owned());
    exporter.set_resource(&resource.with_attribute(KeyValue::new("service.instance.id", id.to_owned())).build());
    Ok(exporter)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sends spans until `stop`, and then those that wait.
pub(super) async fn run(exporter: SpanExporter, mut spans: mpsc::Receiver<SpanData>, stop: CancellationToken) {
    let mut out = Out { exporter, complained: None };
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let first = tokio::select! {
            biased;
            () = stop.cancelled(), if !spans.is_closed() => {
                spans.close();
                continue;
            }
            count = spans.recv_many(&mut batch, BATCH_MAX) => count,
        };
        if first == 0 {
            return;
        }
        if batch.len() < BATCH_MAX {
            stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
        out.send(std::mem::take(&mut batch)).await;
    }
}

/// So many spans will not be sent.
pub(super) fn lost(count: usize) {
    count_as("lost", count);
}

fn count_as(outcome: &'static str, count: usize) {
    metrics::counter!("doorbuster_trace_spans_total", "outcome" => outcome).increment(count as u64);
}

struct Out {
    exporter: SpanExporter,
    complained: Option<Instant>,
}

impl Out {
    /// Sends a batch, once: an endpoint that did not take it may have it or not, and spans are not worth a second try.
    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        let why = match timeout(EXPORT_TIMEOUT, self.exporter.export(batch)).await {
            Ok(Ok(())) => {
                count_as("sent", count);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {EXPORT_TIMEOUT:?}"),
        };
        lost(count);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(count, why, "spans are lost, orders are not: the endpoint of traces does not take them: {why}");
        }
    }
}
