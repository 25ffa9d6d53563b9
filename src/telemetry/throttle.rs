//! Lines that a stranger can cause with each request: one a second from each place in the code is written, the others are counted, and how
//! many they were is written too. Never leaves out a line of another kind.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Filter};

/// How often a line of one place is written, at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where such lines come from: what reads requests, and what answers them.
const TARGETS: [&str; 7] =
    ["actix_http", "actix_server", "actix_web", "h2", "hyper", "doorbuster::http", "doorbuster::routing::peer::accept"];

/// The lines of this process.
static PLACES: Places = Places(Mutex::new(None));

/// Keeps such lines back, for a layer that writes.
pub(super) struct Throttle;

impl<S: Subscriber> Filter<S> for Throttle {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// A place whose lines may be kept back is asked about each time: the library wants to hear of it before each line.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_throttled(metadata) { Interest::sometimes() } else { Interest::always() }
    }

    /// What another filter says stands: without this, nothing would be left out before its fields are put together.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        !is_throttled(event.metadata()) || PLACES.admit(event.metadata(), Instant::now())
    }
}

fn is_throttled(metadata: &Metadata<'_>) -> bool {
    let is_within = |target: &&str| metadata.target().strip_prefix(*target).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    *metadata.level() <= Level::WARN && TARGETS.iter().any(is_within)
}

/// Writes how many lines were left out since this was asked last.
pub(super) fn say_what_was_left_out() {
    for (place, lines) in PLACES.take_left_out() {
        tracing::warn!(target: "doorbuster::telemetry", lines, place, "{lines} lines from {place} were left out");
    }
}

/// By place in the code.
struct Places(Mutex<Option<HashMap<Identifier, Place>>>);

struct Place {
    /// Its target.
    name: String,
    written_at: Instant,
    left_out: u64,
}

impl Places {
    /// Whether a line of that place is written now.
    fn admit(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = false;
        let place = places.get_or_insert_default().entry(metadata.callsite()).or_insert_with(|| {
            is_new = true;
            Place { name: metadata.target().to_owned(), written_at: now, left_out: 0 }
        });
        if is_new || now.saturating_duration_since(place.written_at) >= INTERVAL {
            place.written_at = now;
            return true;
        }
        place.left_out += 1;
        false
    }

    fn take_left_out(&self) -> Vec<(String, u64)> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = places.iter_mut().flat_map(HashMap::values_mut).filter(|place| place.left_out > 0);
        left_out.map(|place| (place.name.clone(), std::mem::take(&mut place.left_out))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::filter::FilterExt;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_thousand_malformed_requests_are_a_line_and_a_count() {
        let written = Written::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(written.clone()).with_filter(LevelFilter::INFO.and(Throttle));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..1_000 {
                tracing::error!(target: "actix_http::h1::dispatcher", "stream error of the test");
                tracing::info!(target: "doorbuster::access", "asked by the test");
                tracing::warn!(target: "doorbuster::httpx", "of another kind in the test");
            }
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        let shown = count("stream error of the test");
        assert!((1..100).contains(&shown), "{shown}");
        assert_eq!((count("asked by the test"), count("of another kind in the test")), (1_000, 1_000));
        let left_out = PLACES.take_left_out();
        let of_test = left_out.iter().find(|(place, _)| place == "actix_http::h1::dispatcher").map(|(_, lines)| *lines);
        assert_eq!(of_test, Some(1_000 - shown as u64));
    }
}
