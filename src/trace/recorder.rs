//! Where spans are recorded: what every one of them needs, and the queue of those that wait to be sent. Never waits.

use std::fmt::{Debug, Formatter};
use std::sync::Mutex;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::export;

/// What every span needs.
pub(super) struct Recorder {
    pub(super) ratio: f64,
    pub(super) follows_caller: bool,
    pub(super) scope: InstrumentationScope,
    pub(super) spans: mpsc::Sender<SpanData>,
    pub(super) stop: CancellationToken,
    pub(super) exporting: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Hands a span over to be sent. Never waits: one that finds no room is lost.
    pub(super) fn record(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            export::lost(1);
        }
    }
}

/// Whoever forgets to shut the tracer loses the spans that wait, and leaves no task behind.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Debug for Recorder {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("ratio", &self.ratio).field("follows_caller", &self.follows_caller).finish_non_exhaustive()
    }
}
