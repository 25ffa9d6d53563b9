//! Work that goes on as long as the process does, in the background: one that panics is told and begun again. Never hides a panic, and
//! never begins again without a pause.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::panics;

/// Between a panic and the next try: what caused it may cause it again.
const PAUSE: Duration = Duration::from_secs(1);

/// Does the work until it ends by itself or `stop`. `begin` begins it, the first time and after each panic; `what` is what it is called in
/// log and metrics.
pub(crate) async fn keep_going<W: Future<Output = ()>>(what: &'static str, stop: &CancellationToken, mut begin: impl FnMut() -> W) {
    loop {
        let Err(panic) = AssertUnwindSafe(async { begin().await }).catch_unwind().await else { return };
        let error = panics::text_of(&*panic);
        metrics::describe_counter!("doorbuster_background_panics_total", "Panics of work in the background, which was begun again");
        metrics::counter!("doorbuster_background_panics_total", "work" => what).increment(1);
        tracing::error!(work = what, error, "{what} panicked, and is begun again: {error}");
        if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_is_begun_again_after_a_pause_and_what_ends_is_over() {
        let (begun, started) = (Cell::new(0), Instant::now());
        let work = || {
            begun.set(begun.get() + 1);
            let is_well = begun.get() == 3;
            async move {
                tokio::task::yield_now().await;
                assert!(is_well, "on purpose");
            }
        };
        keep_going("a test", &CancellationToken::new(), work).await;
        assert_eq!((begun.get(), started.elapsed()), (3, 2 * PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_not_begun_again_when_the_process_stops() {
        let (begun, stop) = (Cell::new(0), CancellationToken::new());
        let work = || {
            begun.set(begun.get() + 1);
            stop.cancel();
            async { panic!("on purpose") }
        };
        keep_going("a test", &stop, work).await;
        assert_eq!(begun.get(), 1);
    }
}
