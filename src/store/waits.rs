//! How work on the database is waited for. Never given up half-way because somebody has gone, never waited for without a bound.

use std::time::Duration;

use super::StoreError;

/// How long the database may take for the next row of a load.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// Goes on to its end, whatever becomes of whoever waits for it.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Err(StoreError::Connect("the process is stopping".into())),
    }
}

/// The answer, if the database gives one in time.
pub(super) async fn timely<T>(answer: impl Future<Output = Result<T, sea_orm::DbErr>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PROGRESS_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Connect(format!("the database gives nothing for {} ms", PROGRESS_TIMEOUT.as_millis()))),
    }
}
