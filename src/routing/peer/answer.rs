//! Answering a batch: each request goes to its task's inbox, and the answers go back as they come. A slow partition holds
//! up nobody else's answers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt, unfold};
use tokio::time::{Instant, timeout};

use super::frames::frame;
use super::local::Local;
use super::wire::{Answers, Ask, Item, PeerVersion, Told, write_answers};
use crate::partition::{Inbox, Traced};
use crate::trace::Tracer;

/// After this time the first frame goes out, empty if need be: the sender may send its next batch.
const FIRST_FRAME: Duration = Duration::from_millis(20);
/// How often a batch that waits says that somebody is there.
const ALIVE: Duration = Duration::from_millis(500);
/// The longest a request may ask to wait.
const BUDGET_MAX: Duration = Duration::from_secs(60);

/// The inbox of each request, none where no task of its partition runs here. None for a batch with a request that no node
/// sends.
pub(super) fn direct(local: &Local, items: Vec<Item>) -> Option<Vec<(Item, Option<Inbox>)>> {
    let inbox = |item: &Item| Some(local.inbox(item.ask.partition(local.partitions)?));
    items.into_iter().map(|item| inbox(&item).map(|inbox| (item, inbox))).collect()
}

/// The answers, in frames of that version.
pub(super) fn stream(
    asked: Vec<(Item, Option<Inbox>)>,
    version: PeerVersion,
    tracer: &Tracer,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    let pending: Pending = (0u16..).zip(asked).map(|(index, (item, inbox))| one(index, item, inbox, tracer.clone()).boxed()).collect();
    unfold((pending, FIRST_FRAME), move |(mut pending, patience)| async move {
        if pending.is_empty() {
            return None;
        }
        let answers = next(&mut pending, patience).await;
        Some((Ok(frame(|out| write_answers(&answers, version, out))), (pending, ALIVE)))
    })
}

type Pending = FuturesUnordered<BoxFuture<'static, (u16, Told)>>;

async fn one(index: u16, item: Item, inbox: Option<Inbox>, tracer: Tracer) -> (u16, Told) {
    let Some(inbox) = inbox else { return (index, Told::Misdirected) };
    let deadline = Instant::now() + Duration::from_millis(item.budget_ms.into()).min(BUDGET_MAX);
    let told = match item.ask {
        Ask::Command(command) => {
            let trace = item.trace.and_then(|context| tracer.follow(context));
            Told::Reply(inbox.command_by(deadline, Traced { command, trace, retry_key: None }).await)
        }
        Ask::Lookup(order) => Told::Sighting(inbox.lookup_by(deadline, order).await),
        Ask::OrdersOf(partition, user) => Told::Orders(inbox.orders_of_by(deadline, partition, user).await),
    };
    (index, told)
}

/// The answers that are there, at least one if one comes in time.
async fn next(pending: &mut Pending, patience: Duration) -> Answers {
    let mut answers = Answers::new();
    if let Ok(Some(first)) = timeout(patience, pending.next()).await {
        answers.push(first);
        while let Some(Some(another)) = pending.next().now_or_never() {
            answers.push(another);
        }
    }
    answers
}
