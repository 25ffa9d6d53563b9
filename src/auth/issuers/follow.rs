//! How an issuer's keys are kept up to date while the process runs. Keys that cannot be had leave the last ones in force, and are said once.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::key_file::skipped;
use super::key_set::KeySet;
use super::{Issuer, Source};

/// How often a file is looked at.
const FILE_INTERVAL: Duration = Duration::from_secs(2);

/// For how long an issuer says that it has no key until that is believed. Whoever withdraws a key has another one by then, if any token is
/// to be good; a key endpoint that is being set up or broken says the same.
const KEYLESS: Duration = Duration::from_secs(60);

impl Issuer {
    /// Keeps its keys up to date until `stop`.
    pub(in crate::auth) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        match &self.source {
            Source::Secret => {}
            Source::File(_) => self.follow_file(stop).await,
            Source::Endpoint(endpoint) => self.follow_endpoint(endpoint, stop).await,
        }
    }

    async fn follow_file(self: &Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(FILE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let issuer = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || issuer.look_at_file()).await;
            // A panic in it has been reported by the runtime.
            drop(looked);
        }
    }

    /// Goes on with what its file has now.
    pub(super) fn look_at_file(&self) {
        if let Source::File(file) = &self.source {
            let read = file.read(&self.algorithms);
            let believed =
                |keys| self.believed(keys, Instant::now()).map_err(|problem| format!("the file {} {problem}", file.path.display()));
            self.take(read.and_then(believed));
        }
    }

    /// Those keys, unless there are none and it has not said so for long.
    fn believed(&self, keys: KeySet, now: Instant) -> Result<KeySet, String> {
        let mut since = self.keyless_since.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() > 0 {
            *since = None;
            return Ok(keys);
        }
        if now.saturating_duration_since(*since.get_or_insert(now)) >= KEYLESS {
            return Ok(keys);
        }
        Err(format!("has no key that can be used: that is believed when it has said so for {} seconds", KEYLESS.as_secs()))
    }

    async fn follow_endpoint(&self, endpoint: &Endpoint, stop: CancellationToken) {
        metrics::describe_counter!("doorbuster_issuer_fetches_total", "Fetches of an issuer's keys, by outcome");
        let (mut due, mut last_out_of_turn, mut failures) = (Instant::now(), None, 0);
        while let Some(is_in_turn) = stop.run_until_cancelled(endpoint.due(due, last_out_of_turn)).await {
            let begun = Instant::now();
            let mut absent = endpoint.begin();
            let Some(fetched) = stop.run_until_cancelled(endpoint.fetch()).await else { return };
            let read = fetched
                .and_then(|bytes| KeySet::of_jwks(&bytes, &self.algorithms, skipped).map_err(|problem| format!("its answer {problem}")))
                .and_then(|keys| self.believed(keys, begun).map_err(|problem| format!("its answer {problem}")));
            let is_good = read.is_ok();
            failures = if is_good { 0 } else { failures + 1 };
            if let Ok(keys) = &read {
                absent.extend(self.keys.load().iter().flat_map(|last| last.ids()).map(Box::from));
                let present: HashSet<&str> = keys.ids().collect();
                absent.retain(|id| !present.contains(&**id));
            }
            self.take(read.map_err(|why| format!("{} cannot be had: {why}", endpoint.url())));
            endpoint.end(begun, is_good.then_some(absent));
            let outcome = if is_good { "good" } else { "failed" };
            metrics::counter!("doorbuster_issuer_fetches_total", "issuer" => self.name.to_string(), "outcome" => outcome).increment(1);
            due = begun + endpoint.pause(failures);
            if !is_in_turn {
                last_out_of_turn = Some(begun);
            }
        }
    }

    /// Goes on with what was read, if it is news.
    pub(super) fn take(&self, read: Result<KeySet, String>) {
        #[cfg(test)]
        assert!(!self.panics.swap(false, std::sync::atomic::Ordering::Relaxed), "on purpose");
        let name = self.name.as_str();
        self.tell_whether_up(read.is_ok());
        match read {
            Ok(keys) => {
                let was_in_trouble = self.trouble.swap(None).is_some();
                let is_same = self.keys.load().as_ref().is_some_and(|last| last.is_same(&keys));
                let count = keys.len();
                if !is_same {
                    self.keys.store(Some(Arc::new(keys)));
                }
                match (is_same, count) {
                    (false, 0) => tracing::warn!(issuer = name, "issuer {name} has no key that can be used: its tokens are refused"),
                    (false, _) => tracing::info!(issuer = name, keys = count, "issuer {name}: {count} keys are in force from now on"),
                    (true, _) if was_in_trouble => {
                        tracing::info!(issuer = name, "the keys of issuer {name} can be had again, and are the same")
                    }
                    (true, _) => {}
                }
            }
            Err(why) => {
                // An endpoint fails in many words, and is said once; a file has another mistake when somebody has changed it.
                let is_said = |said: &String| *said == why || matches!(self.source, Source::Endpoint(_));
                if !self.trouble.load().as_deref().is_some_and(is_said) {
                    let last = if self.keys.load().is_some() { "the last ones stay in force" } else { "its tokens are told 503" };
                    tracing::warn!(issuer = name, why, "the keys of issuer {name} cannot be had, and {last}: {why}");
                }
                self.trouble.store(Some(Arc::new(why)));
            }
        }
    }

    fn tell_whether_up(&self, is_up: bool) {
        metrics::describe_gauge!("doorbuster_issuer_up", "1 = the keys of this issuer could be had when they were looked at last");
        metrics::gauge!("doorbuster_issuer_up", "issuer" => self.name.to_string()).set(f64::from(u8::from(is_up)));
    }

    /// Whether it is to be asked for a key that is not here.
    pub(super) fn may_have_newer(&self, id: Option<&str>) -> bool {
        match &self.source {
            Source::Endpoint(endpoint) => id.is_some_and(|id| endpoint.may_have(id)),
            Source::Secret | Source::File(_) => false,
        }
    }
}
