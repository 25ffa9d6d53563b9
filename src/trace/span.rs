//! Steps of a traced request. A span is recorded when it is dropped, so that none is forgotten where a request is given up;
//! that never waits and never fails.

use std::fmt::{Debug, Display, Formatter};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Context;
use super::recorder::Recorder;

/// The note with the id of the order a step is about.
pub const ORDER_ID: &str = "doorbuster.order_id";
/// The note with the name of the batch a step is about: the id of its message, as OpenTelemetry calls it.
pub const BATCH: &str = "messaging.message.id";

/// What happens to a traced request, in the order it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A node answers the request.
    Request,
    /// The command waits for its engine and is decided.
    Decide,
    /// Another node is asked to decide it.
    Forward,
    /// The batch with what was decided is sent and confirmed.
    Append,
    /// The batch is written to the tables: from its delivery to the commit.
    Project,
}

impl Step {
    /// Its name in the trace.
    const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Decide => "decide",
            Self::Forward => "forward",
            Self::Append => "append",
            Self::Project => "project",
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Request => SpanKind::Server,
            Self::Decide => SpanKind::Internal,
            Self::Forward => SpanKind::Client,
            Self::Append => SpanKind::Producer,
            Self::Project => SpanKind::Consumer,
        }
    }
}

/// A place in a trace that next steps begin at. It is one pointer: most requests carry none.
#[derive(Clone)]
pub struct Trace(Arc<Place>);

struct Place {
    recorder: Arc<Recorder>,
    context: Context,
    /// Whether another process has been there.
    is_remote: bool,
}

impl Trace {
    /// A place of that process; `is_remote`: another one has been there.
    pub(super) fn new(recorder: &Arc<Recorder>, context: Context, is_remote: bool) -> Self {
        Self(Arc::new(Place { recorder: Arc::clone(recorder), context, is_remote }))
    }

    /// Begins the next step.
    #[must_use]
    pub fn begin(&self, step: Step) -> Span {
        let Place { recorder, context, is_remote } = &*self.0;
        Self::new(recorder, Context { span: random(), ..*context }, false).open(Some((context.span, *is_remote)), step)
    }

    /// Opens the span of this place itself.
    pub(super) fn open(self, parent: Option<(NonZeroU64, bool)>, step: Step) -> Span {
        let now = SystemTime::now();
        let (parent_span_id, parent_span_is_remote) =
            parent.map_or((SpanId::INVALID, false), |(span, is_remote)| (SpanId::from(span.get()), is_remote));
        let Context { trace, span } = self.0.context;
        let (trace, span) = (TraceId::from(trace.get()), SpanId::from(span.get()));
        let data = SpanData {
            span_context: SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id,
            parent_span_is_remote,
            span_kind: step.kind(),
            name: step.name().into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.0.recorder.scope.clone(),
        };
        Span(Box::new(Open { place: self, data: Some(data) }))
    }
}

impl Debug for Trace {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trace({})", self.0.context)
    }
}

/// A step that has begun. Dropping it ends it.
pub struct Span(Box<Open>);

struct Open {
    place: Trace,
    /// What is recorded; taken by the drop.
    data: Option<SpanData>,
}

impl Span {
    /// Where steps that follow from this one begin.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.0.place.clone()
    }

    /// This step, as other processes are told of it.
    #[must_use]
    pub fn context(&self) -> Context {
        self.0.place.0.context
    }

    /// It turned out to be that step.
    pub fn is(&mut self, step: Step) {
        self.change(|data| (data.name, data.span_kind) = (step.name().into(), step.kind()));
    }

    /// Calls it something better than the name of its step.
    pub fn rename(&mut self, name: String) {
        self.change(|data| data.name = name.into());
    }

    /// Notes a number or a text with it.
    pub fn note(&mut self, key: &'static str, value: impl Into<Value>) {
        self.change(|data| data.attributes.push(KeyValue::new(key, value)));
    }

    /// Notes something in its usual form.
    pub fn note_shown(&mut self, key: &'static str, value: impl Display) {
        self.note(key, value.to_string());
    }

    /// It did not come to its end.
    pub fn fail(&mut self, why: &str) {
        self.change(|data| data.status = Status::error(why.to_owned()));
    }

    fn change(&mut self, change: impl FnOnce(&mut SpanData)) {
        if let Some(data) = &mut self.0.data {
            change(data);
        }
    }
}

impl Debug for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "Span({})", self.context())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.end_time = SystemTime::now();
            self.place.0.recorder.record(data);
        }
    }
}

/// A new span's id.
pub(super) fn random() -> NonZeroU64 {
    NonZeroU64::new(rand::random()).unwrap_or(NonZeroU64::MIN)
}
