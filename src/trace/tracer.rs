//! Which requests are traced, and where their spans go. Decided once, where a request enters, before anything is made for it;
//! everybody behind does as the first one decided.

use std::num::NonZeroU128;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::recorder::Recorder;
use super::span::random;
use super::{Context, Span, Step, Trace, export};
use crate::config;
use crate::telemetry::TelemetryError;

/// Spans that wait to be sent, at most; those that find no room are counted and gone.
const WAITING_MAX: usize = 4_096;
/// How long a stop waits for the last spans to be sent.
const SHUT_TIMEOUT: Duration = Duration::from_secs(3);

/// The way of this process to make traces. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

impl Tracer {
    /// Traces nothing.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// A tracer for a process of that role (`spike`, say) and node id; one that is off if no endpoint is configured. Must be
    /// called on a runtime that lives until [`shut`](Self::shut).
    ///
    /// # Errors
    /// [`TelemetryError::Traces`] when the settings, among them OpenTelemetry's own variables, are none.
    pub fn start(settings: &config::Telemetry, role: &str, id: &str) -> Result<Self, TelemetryError> {
        let Some(endpoint) = &settings.traces_endpoint else { return Ok(Self::off()) };
        let service = settings.service_name.clone().unwrap_or_else(|| format!("doorbuster-{role}"));
        let exporter = export::exporter(endpoint, &service, id)?;
        let (spans, waiting) = mpsc::channel(WAITING_MAX);
        let stop = CancellationToken::new();
        let exporting = tokio::spawn(export::run(exporter, waiting, stop.clone()));
        // A name and a password in it are not for the log.
        let place = endpoint.rsplit_once('@').map_or(endpoint.as_str(), |(_, place)| place);
        tracing::info!(endpoint = place, ratio = settings.traces_ratio, service, "traces go to {place}");
        Ok(Self(Some(Arc::new(Recorder {
            ratio: settings.traces_ratio,
            follows_caller: settings.traces_follow_caller,
            scope: InstrumentationScope::builder("doorbuster").with_version(env!("CARGO_PKG_VERSION")).build(),
            spans,
            stop,
            exporting: Mutex::new(Some(exporting)),
        }))))
    }

    /// Whether anything is traced at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the trace of a request, if it is to be traced. `traceparent` is what the caller sent, looked at
    /// only where it counts.
    ///
    /// A stranger's word does not make work for us: our own dice decide, and only then the request joins the trace the caller
    /// named. Behind a gateway that is trusted (`telemetry.traces_follow_caller`) a caller that names a trace decides.
    #[must_use]
    pub fn request<'a>(&self, traceparent: impl FnOnce() -> Option<&'a str>) -> Option<Span> {
        let recorder = self.0.as_ref()?;
        let caller = || traceparent().and_then(Context::parse);
        let parent = if recorder.follows_caller {
            match caller() {
                Some((_, false)) => return None,
                Some((context, true)) => Some(context),
                None if !rand::random_bool(recorder.ratio) => return None,
                None => None,
            }
        } else if rand::random_bool(recorder.ratio) {
            caller().map(|(context, _)| context)
        } else {
            return None;
        };
        let trace = parent.map_or_else(|| NonZeroU128::new(rand::random()).unwrap_or(NonZeroU128::MIN), |parent| parent.trace);
        let place = Trace::new(recorder, Context { trace, span: random() }, false);
        Some(place.open(parent.map(|parent| (parent.span, true)), Step::Request))
    }

    /// Goes on with a trace that came from another process of ours; none if nothing is traced here.
    #[must_use]
    pub fn follow(&self, context: Context) -> Option<Trace> {
        self.0.as_ref().map(|recorder| Trace::new(recorder, context, true))
    }

    /// Sends what was recorded, for a few seconds at most. What is recorded later is lost. Safe to call again.
    pub async fn shut(&self) {
        let Some(recorder) = &self.0 else { return };
        recorder.stop.cancel();
        let exporting = recorder.exporting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut exporting) = exporting else { return };
        if tokio::time::timeout(SHUT_TIMEOUT, &mut exporting).await.is_err() {
            exporting.abort();
            tracing::warn!("the last spans were not sent within {SHUT_TIMEOUT:?}");
        }
    }
}

#[cfg(test)]
mod tests;
