//! A place for spans: takes what processes send by OTLP over HTTP, and keeps it to be looked at.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The name of the process.
    pub service: String,
    /// Which process of that name.
    pub instance: String,
    pub name: String,
    /// In hexadecimal digits, as all ids here.
    pub trace: String,
    pub id: String,
    /// Empty if there is none.
    pub parent: String,
    pub kind: i32,
    /// Why it did not come to its end, if it did not.
    pub failed: Option<String>,
    pub notes: BTreeMap<String, String>,
}

/// Where spans go.
pub struct Collector {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: ServerHandle,
}

impl Collector {
    /// On a port of its own.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = web::Data::from(Arc::clone(&seen));
        let app = move || {
            let limit = web::PayloadConfig::new(16 * 1_024 * 1_024);
            App::new().app_data(limit).app_data(state.clone()).route("/v1/traces", web::post().to(take))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("a listener").run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, seen, server: handle }
    }

    /// What `telemetry.traces_endpoint` would be.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Stops, and gives what has arrived.
    pub async fn stop(self) -> Spans {
        self.server.stop(true).await;
        Spans(self.seen.lock().expect("nobody panicked").clone())
    }
}

/// Spans, to find one's way in.
#[derive(Debug)]
pub struct Spans(pub Vec<Seen>);

impl Spans {
    /// The steps that led to the last span of that name with that note, the first one first.
    pub fn way_to(&self, name: &str, note: (&str, &str)) -> Vec<&Seen> {
        let is_it = |span: &&Seen| span.name == name && span.notes.get(note.0).is_some_and(|value| value == note.1);
        let mut way: Vec<&Seen> = self.0.iter().rev().find(is_it).into_iter().collect();
        while let Some(parent) = way.last().and_then(|last| self.0.iter().find(|span| span.trace == last.trace && span.id == last.parent)) {
            way.push(parent);
        }
        way.reverse();
        way
    }

    /// The spans that follow from one.
    pub fn after<'a>(&'a self, span: &'a Seen) -> impl Iterator<Item = &'a Seen> {
        self.0.iter().filter(|other| other.trace == span.trace && other.parent == span.id)
    }
}

async fn take(seen: web::Data<Mutex<Vec<Seen>>>, body: web::Bytes) -> HttpResponse {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return HttpResponse::BadRequest().finish() };
    seen.lock().expect("nobody panicked").extend(request.resource_spans.into_iter().flat_map(spans));
    HttpResponse::Ok().finish()
}

fn spans(resource: ResourceSpans) -> Vec<Seen> {
    let about = notes(resource.resource.unwrap_or_default().attributes);
    let of = |key: &str| about.get(key).cloned().unwrap_or_default();
    let (service, instance) = (of("service.name"), of("service.instance.id"));
    let seen = |span: opentelemetry_proto::tonic::trace::v1::Span| Seen {
        service: service.clone(),
        instance: instance.clone(),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        failed: span.status.filter(|status| status.code == StatusCode::Error as i32).map(|status| status.message),
        notes: notes(span.attributes),
    };
    resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(seen).collect()
}

fn notes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|note| (note.key, text(note.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
