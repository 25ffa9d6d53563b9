//! Logs and metrics of a process (traces: [`crate::trace`]): what is set up once at the start. Never decides what is logged or counted, and the
//! library never sets it up by itself: a `main` does.

mod throttle;

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::prelude::*;

use crate::config::{self, LogFormat};

/// Latencies, in seconds: from a board's refusal (tens of microseconds) over a commit (milliseconds) to a time-out.
const SECONDS_BUCKETS: [f64; 18] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Things in one batch: powers of two up to beyond the largest default batch.
const BATCH_BUCKETS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0];

/// How often histograms are drained into their buckets. Without it they keep every sample.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why logs, metrics or traces could not be set up, in one line.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("telemetry.filter {filter:?} is no log filter ({problem}); write it like \"info,doorbuster::http=debug\"")]
    Filter {
        /// What was configured.
        filter: String,
        /// What the parser said.
        problem: String,
    },
    /// Traces cannot be sent as configured.
    #[error("traces cannot be sent: {0}; to switch them off set DOORBUSTER__TELEMETRY__TRACES_ENDPOINT to nothing")]
    Traces(String),
    /// Somebody set them up before.
    #[error("logs or metrics were set up before: {0}")]
    SetUpBefore(String),
}

/// Sends logs to standard error, filtered and formatted as configured. Once in a process.
///
/// # Errors
/// [`TelemetryError`] for a filter that is none, and for a second call.
pub fn install_tracing(config: &config::Telemetry) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    let filter = filter(&config.filter)?.and(throttle::Throttle);
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // A line that cannot be written (a full disk, a pipe nobody reads) is lost. To say so would mean a panic of whoever
        // wrote it, since there is no other place to say it.
        .log_internal_errors(false);
    let installed = match config.format {
        LogFormat::Text => tracing_subscriber::registry().with(logs.with_filter(filter)).try_init(),
        LogFormat::Json => {
            let logs = logs.json().flatten_event(true).with_current_span(true).with_span_list(false);
            tracing_subscriber::registry().with(logs.with_filter(filter)).try_init()
        }
    };
    installed.map_err(|error| TelemetryError::SetUpBefore(error.to_string()))
}

/// Makes this process count, and gives the handle that renders what `/metrics` answers. Every call gives the same one.
///
/// A histogram's unit is the end of its name: `_seconds` for latencies, `_size` for things in a batch.
///
/// # Errors
/// [`TelemetryError::SetUpBefore`] if the process has a recorder that is not from here.
pub fn install_metrics() -> Result<PrometheusHandle, TelemetryError> {
    static HANDLE: LazyLock<Result<PrometheusHandle, String>> =
        LazyLock::new(|| builder().and_then(PrometheusBuilder::install_recorder).map_err(|error| error.to_string()));
    HANDLE.clone().map_err(TelemetryError::SetUpBefore)
}

/// Drains the histograms every five seconds until `stop`, and says which log lines were left out. The shell runs it as a task of its own.
pub async fn run_metrics_upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        handle.run_upkeep();
        throttle::say_what_was_left_out();
    }
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(text).map_err(|error| TelemetryError::Filter { filter: text.to_owned(), problem: error.to_string() })
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), &BATCH_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named() {
        assert!(filter("info,doorbuster::http=debug").is_ok());
        let refusal = filter("info,doorbuster=loudly").expect_err("no such level").to_string();
        assert!(refusal.contains("info,doorbuster=loudly"), "{refusal}");
    }

    #[test]
    fn latencies_and_batches_are_histograms_in_buckets() {
        let recorder = builder().expect("the buckets are good").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("test_commit_seconds").record(0.003);
            metrics::histogram!("test_batch_size").record(100.0);
        });
        let rendered = recorder.handle().render();
        assert!(rendered.contains("test_commit_seconds_bucket{le=\"0.005\"} 1"), "{rendered}");
        assert!(rendered.contains("test_commit_seconds_bucket{le=\"0.0025\"} 0"), "{rendered}");
        assert!(rendered.contains("test_batch_size_bucket{le=\"128\"} 1"), "{rendered}");
    }

    #[test]
    fn metrics_are_installed_once_for_all_callers() {
        let (one, other) = (install_metrics().expect("nobody else installs one"), install_metrics().expect("the same again"));
        metrics::counter!("test_installed_total").increment(1);
        assert!(one.render().contains("test_installed_total 1") && other.render().contains("test_installed_total 1"));
    }

    #[tokio::test]
    async fn the_upkeep_ends_when_told() {
        let stop = CancellationToken::new();
        stop.cancel();
        run_metrics_upkeep(install_metrics().expect("nobody else installs one"), stop).await;
    }
}
