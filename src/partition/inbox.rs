//! The bounded way into a partition task. Full means an answer now; nobody waits here without a bound, and a command
//! whose caller gave up is never carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::caller::{Caller, Shared};
use super::trouble::TroubleNote;
use super::{Busy, RecentOrders, Reply, Sighting, Trouble};
use crate::domain::{CommodityId, Epoch, IdempotencyKey, Order, OrderId, PartitionId, Partitions, PrincipalKey};
use crate::engine::Command;
use crate::ring::partition_of;
use crate::trace::{Span, Step, Trace};

/// A command, and what no engine knows of it.
#[derive(Clone, Debug)]
pub struct Traced {
    /// What the engine decides.
    pub command: Command,
    /// The trace it belongs to, if that is recorded.
    pub trace: Option<Trace>,
    /// What an order without a key is placed under if the command leaves this process: when the owner dies, nobody may come back with
    /// the order's id, and whoever asked finds it by this.
    pub retry_key: Option<SpareKey>,
}

/// A key for a placing without one, and whether the placing was sent under it. It costs next to nothing until it is needed.
#[derive(Clone, Debug)]
pub struct SpareKey(Arc<Spare>);

#[derive(Debug)]
struct Spare {
    number: u128,
    is_used: AtomicBool,
}

impl SpareKey {
    /// The key with that number, under which nothing was sent yet.
    #[must_use]
    pub fn new(number: u128) -> Self {
        Self(Arc::new(Spare { number, is_used: AtomicBool::new(false) }))
    }

    /// As the buyer may send it in `Idempotency-Key`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("retry-{:032x}", self.0.number)
    }

    /// Whether the placing was sent under it the last time that it was sent.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.0.is_used.load(Ordering::Acquire)
    }
}

impl From<Command> for Traced {
    fn from(command: Command) -> Self {
        Self { command, trace: None, retry_key: None }
    }
}

/// One request on its way to a task: a partition's, or the one that carries requests to another node.
pub(crate) enum Request {
    /// Something for the engine to decide; the span began when it was sent.
    Command(Command, Option<Span>, Caller<Reply>),
    /// A question about an order, on its way to another node: a task is never asked, its orders are read.
    Lookup(OrderId, Caller<Result<Sighting, Busy>>),
    /// As above, about a buyer's orders in a partition.
    OrdersOf((PartitionId, PrincipalKey), Caller<Result<Vec<Order>, Busy>>),
}

impl Request {
    /// The partition it is for; none for what a partition's own task alone is asked.
    pub(crate) fn partition(&self, partitions: Partitions) -> Option<PartitionId> {
        let partition = match self {
            Self::Command(command, ..) => partition_of_command(command, partitions)?,
            Self::Lookup(order, _) => order.partition(),
            Self::OrdersOf((partition, _), _) => *partition,
        };
        (partition.get() < partitions.get()).then_some(partition)
    }

    /// Until when it may wait to be taken up.
    pub(crate) const fn deadline(&self) -> Instant {
        match self {
            Self::Command(_, _, caller) => caller.deadline,
            Self::Lookup(_, caller) => caller.deadline,
            Self::OrdersOf(_, caller) => caller.deadline,
        }
    }

    /// Tells the caller that it was not carried out.
    pub(crate) fn turn_away(self, busy: Busy) {
        match self {
            Self::Command(_, _, caller) => drop(caller.take().map(|caller| caller.send(Reply::Busy(busy)))),
            Self::Lookup(_, caller) => drop(caller.take().map(|caller| caller.send(Err(busy)))),
            Self::OrdersOf(_, caller) => drop(caller.take().map(|caller| caller.send(Err(busy)))),
        }
    }
}

/// The partition of what a command is about: of its order, or of its commodity.
fn partition_of_command(command: &Command, partitions: Partitions) -> Option<PartitionId> {
    let of = |commodity: CommodityId| partition_of(commodity, partitions);
    command.order().map(OrderId::partition).or_else(|| command.commodity().map(of))
}

/// How long callers wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// In the inbox, before the request is taken up.
    pub in_inbox: Duration,
    /// After it was taken up. The task itself answers much earlier; this bounds the wait if it cannot.
    pub in_task: Duration,
}

/// The sending end of a partition's inbox.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Request>,
    serving: Arc<watch::Sender<Option<Epoch>>>,
    trouble: Arc<TroubleNote>,
    /// The orders of the task it leads to; none if it leads to another node.
    recent: Option<Arc<RecentOrders>>,
    patience: Patience,
}

impl Inbox {
    /// An inbox of that depth, with its receiving end.
    pub(crate) fn new(depth_max: usize, patience: Patience) -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(depth_max);
        let serving = Arc::new(watch::Sender::new(None));
        (Self { sender, serving, trouble: Arc::default(), recent: None, patience }, receiver)
    }

    /// As [`new`](Self::new), of a task that shows these orders.
    pub(crate) fn of_task(depth_max: usize, patience: Patience, recent: Arc<RecentOrders>) -> (Self, mpsc::Receiver<Request>) {
        let (inbox, receiver) = Self::new(depth_max, patience);
        (Self { recent: Some(recent), ..inbox }, receiver)
    }

    /// Whether an engine takes requests up right now.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.epoch().is_some()
    }

    /// The epoch of the engine that takes requests up right now.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        *self.serving.borrow()
    }

    /// Why no engine takes requests up, where that is more than a claim under way.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.read()
    }

    /// Waits until an engine takes requests up.
    pub async fn served(&self) {
        // The sender lives as long as this inbox does, so that the wait cannot fail.
        let _ = self.serving.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until that begins or ends.
    async fn changed(&self) {
        // As above.
        let _ = self.serving.subscribe().changed().await;
    }

    /// Requests waiting now.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// What tells everyone whether an engine takes requests up.
    pub(crate) fn serving_flag(&self) -> Arc<watch::Sender<Option<Epoch>>> {
        Arc::clone(&self.serving)
    }

    /// Where the task notes what is the matter.
    pub(crate) fn trouble_note(&self) -> Arc<TroubleNote> {
        Arc::clone(&self.trouble)
    }

    /// Sends a command and waits for what it came to.
    pub async fn command(&self, command: impl Into<Traced>) -> Reply {
        self.command_by(self.deadline(), command).await
    }

    /// As [`command`](Self::command), but the command is carried out only if it is taken up before `deadline`.
    pub async fn command_by(&self, deadline: Instant, command: impl Into<Traced>) -> Reply {
        let Traced { mut command, trace, retry_key } = command.into();
        if let (Command::Place(place), Some(spare)) = (&mut command, &retry_key) {
            let is_used = place.key.is_none() && self.leads_elsewhere();
            spare.0.is_used.store(is_used, Ordering::Release);
            if is_used {
                place.key = IdempotencyKey::of(&place.user, &spare.text()).ok();
            }
        }
        let span = trace.map(|trace| trace.begin(Step::Decide));
        match self.ask(deadline, |caller| Request::Command(command, span, caller)).await {
            Asked::Answered(reply) => reply,
            Asked::Untouched(busy) => Reply::Busy(busy),
            Asked::Silent(order) => Reply::Pending(order),
        }
    }

    /// Whether requests leave this process: a task here has orders to show.
    const fn leads_elsewhere(&self) -> bool {
        self.recent.is_none()
    }

    /// Asks what the owner knows of an order.
    ///
    /// # Errors
    /// [`Busy`] when nobody took the question up in time.
    pub async fn lookup(&self, order: OrderId) -> Result<Sighting, Busy> {
        self.lookup_by(self.deadline(), order).await
    }

    /// As [`lookup`](Self::lookup), with a deadline of the caller's for being taken up.
    ///
    /// # Errors
    /// [`Busy`] when nobody took the question up by then.
    pub async fn lookup_by(&self, deadline: Instant, order: OrderId) -> Result<Sighting, Busy> {
        if let Some(recent) = &self.recent {
            return self.read(recent, deadline, |recent| recent.look_up(order)).await;
        }
        match self.ask(deadline, |caller| Request::Lookup(order, caller)).await {
            Asked::Answered(sighting) => sighting,
            Asked::Untouched(busy) => Err(busy),
            Asked::Silent(_) => Ok(Sighting::InDoubt),
        }
    }

    /// The orders of a buyer in a partition that the tables may not have yet, or not as they stand.
    ///
    /// # Errors
    /// [`Busy`] when nobody serves the partition by the deadline, or its owner is of a release that cannot tell.
    pub async fn orders_of_by(&self, deadline: Instant, partition: PartitionId, user: PrincipalKey) -> Result<Vec<Order>, Busy> {
        if let Some(recent) = &self.recent {
            return self.read(recent, deadline, |recent| recent.of_user(user)).await;
        }
        match self.ask(deadline, |caller| Request::OrdersOf((partition, user), caller)).await {
            Asked::Answered(orders) => orders,
            Asked::Untouched(busy) => Err(busy),
            Asked::Silent(_) => Err(Busy::Unavailable),
        }
    }

    /// Reads what a task shows, as soon as it serves.
    async fn read<T>(&self, recent: &RecentOrders, deadline: Instant, look: impl Fn(&RecentOrders) -> Option<T>) -> Result<T, Busy> {
        loop {
            if let Some(found) = look(recent) {
                return Ok(found);
            }
            if self.sender.is_closed() || timeout_at(deadline, self.served()).await.is_err() {
                return Err(Busy::Unavailable);
            }
            // It serves, or has just ceased to: in that moment the flag is up and there is nothing to be read.
            if look(recent).is_none() && timeout_at(deadline, self.changed()).await.is_err() {
                return Err(Busy::Unavailable);
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience.in_inbox
    }

    async fn ask<T>(&self, deadline: Instant, request: impl FnOnce(Caller<T>) -> Request) -> Asked<T> {
        let shared = Arc::<Shared>::default();
        let (sender, mut receiver) = oneshot::channel();
        match self.sender.try_send(request(Caller { deadline, shared: Arc::clone(&shared), sender })) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Asked::Untouched(Busy::Overloaded),
            Err(TrySendError::Closed(_)) => return Asked::Untouched(Busy::Unavailable),
        }
        let answer = match timeout_at(deadline, &mut receiver).await {
            Err(_) if shared.stage.abandon() => return Asked::Untouched(self.reason()),
            Err(_) => self.outlast(&shared, &mut receiver).await,
            answer => answer,
        };
        match (answer, shared.decided.get()) {
            (Ok(Ok(answer)), _) => Asked::Answered(answer),
            (Ok(Err(_)) | Err(_), _) if shared.stage.abandon() => Asked::Untouched(Busy::Unavailable),
            // Its task ended before it was decided: what that had gathered is never sent.
            (Ok(Err(_)), None) if !self.leads_elsewhere() => Asked::Untouched(Busy::Unavailable),
            (Ok(Err(_)) | Err(_), decided) => Asked::Silent(decided.copied().flatten()),
        }
    }

    /// Waits for an answer of whoever has taken a request up; once more, if a task here has not even decided it: it may be that nobody here
    /// ran for a while, and the answer is about to come.
    async fn outlast<T>(&self, shared: &Shared, receiver: &mut oneshot::Receiver<T>) -> Result<Result<T, RecvError>, Elapsed> {
        match timeout(self.patience.in_task, &mut *receiver).await {
            Err(_) if !self.leads_elsewhere() && shared.decided.get().is_none() => timeout(self.patience.in_task, receiver).await,
            answer => answer,
        }
    }

    fn reason(&self) -> Busy {
        if self.is_serving() { Busy::Overloaded } else { Busy::Unavailable }
    }
}

/// How a question ended.
enum Asked<T> {
    Answered(T),
    /// Never taken up, and never will be.
    Untouched(Busy),
    /// Taken up, and the task ended or hung without a word: a bug, and the outcome is not known. With the order, if a task here has decided
    /// that it is placed.
    Silent(Option<OrderId>),
}

#[cfg(test)]
mod tests {
    use super::super::Hear;
    use super::super::caller::Answering;
    use super::*;
    use crate::engine::Answer;

    fn patience(millis: u64) -> Patience {
        Patience { in_inbox: Duration::from_millis(millis), in_task: Duration::from_millis(millis) }
    }

    fn pause() -> Command {
        Command::Pause(CommodityId::new(1).unwrap())
    }

    #[tokio::test]
    async fn a_full_inbox_answers_at_once() {
        let (inbox, _receiver) = Inbox::new(1, patience(60_000));
        let first = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.command(pause()).await }
        });
        while inbox.depth() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(inbox.command(pause()).await, Reply::Busy(Busy::Overloaded));
        first.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_whose_caller_gave_up_is_never_taken() {
        let (inbox, mut receiver) = Inbox::new(1, patience(10));
        assert_eq!(inbox.command(pause()).await, Reply::Busy(Busy::Unavailable));
        let Some(Request::Command(_, _, caller)) = receiver.recv().await else { panic!("the command is still there") };
        assert!(caller.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_was_taken_and_never_answered_is_pending() {
        let (inbox, mut receiver) = Inbox::new(1, patience(10));
        let task = tokio::spawn(async move {
            let Some(Request::Command(_, _, caller)) = receiver.recv().await else { panic!("a command comes") };
            let sender = caller.take();
            (receiver.recv().await.is_none(), sender.is_some())
        });
        assert_eq!(inbox.command(pause()).await, Reply::Pending(None));
        drop(inbox);
        assert_eq!(task.await.unwrap(), (true, true));
    }

    /// An inbox of a task here, which takes up what comes and does that with it.
    async fn here(decide: impl FnOnce(Answering) + Send + 'static) -> Reply {
        let (inbox, mut receiver) = Inbox::of_task(1, patience(10), Arc::default());
        let task = tokio::spawn(async move {
            let Some(Request::Command(_, _, caller)) = receiver.recv().await else { panic!("a command comes") };
            decide(caller.take_to_decide().expect("nobody gave up"));
        });
        let reply = inbox.command(pause()).await;
        task.await.unwrap();
        reply
    }

    fn order() -> Order {
        Order {
            id: OrderId::new(crate::domain::Timestamp::ZERO, PartitionId::new(0).unwrap(), Epoch::MAX, 7),
            commodity: CommodityId::new(1).unwrap(),
            user: crate::domain::UserId::new(1).unwrap().into(),
            quantity: crate::domain::Quantity::ONE,
            unit_price: crate::domain::Price::new(1).unwrap(),
            currency: "EUR".parse().unwrap(),
            status: crate::domain::OrderStatus::Confirmed,
            pay_by: None,
            grace_seconds: 0,
            discount: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_whose_task_ended_before_it_was_decided_was_not_carried_out() {
        assert_eq!(here(drop).await, Reply::Busy(Busy::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_was_decided_and_never_answered_is_pending_under_its_id() {
        let placed = Reply::Done(Answer::Placed(order()));
        let silent = |hangs: bool| {
            let placed = placed.clone();
            here(move |caller| {
                caller.wait_for(&placed);
                if hangs {
                    std::mem::forget(caller);
                }
            })
        };
        for hangs in [false, true] {
            assert_eq!(silent(hangs).await, Reply::Pending(Some(order().id)), "{hangs}");
        }
        let other = here(|caller| caller.wait_for(&Reply::Done(Answer::Removed))).await;
        assert_eq!(other, Reply::Pending(None));
    }

    #[tokio::test]
    async fn a_spare_key_is_used_where_a_placing_leaves_this_process_and_only_there() {
        for is_here in [false, true] {
            let (inbox, mut receiver) =
                if is_here { Inbox::of_task(1, patience(60_000), Arc::default()) } else { Inbox::new(1, patience(60_000)) };
            let spare = SpareKey::new(7);
            let place = crate::engine::Place {
                commodity: CommodityId::new(1).unwrap(),
                user: crate::domain::UserId::new(1).unwrap().into(),
                quantity: crate::domain::Quantity::ONE,
                key: None,
                fingerprint: crate::domain::RequestFingerprint(0),
                unit_price: None,
            };
            let traced = Traced { retry_key: Some(spare.clone()), ..Command::Place(place).into() };
            let sent = tokio::spawn(async move { inbox.command(traced).await });
            let Some(Request::Command(Command::Place(place), _, caller)) = receiver.recv().await else { panic!("it comes") };
            assert_eq!((place.key.is_some(), spare.was_used()), (!is_here, !is_here));
            drop((caller, receiver));
            assert_eq!(sent.await.unwrap(), Reply::Busy(Busy::Unavailable));
        }
    }

    #[tokio::test]
    async fn a_command_left_in_the_inbox_of_a_task_that_ended_was_not_carried_out() {
        let (inbox, mut receiver) = Inbox::new(1, patience(60_000));
        let asked = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.command(pause()).await }
        });
        let request = receiver.recv().await;
        drop(request);
        drop(receiver);
        assert_eq!(asked.await.unwrap(), Reply::Busy(Busy::Unavailable));
    }
}
