//! The task against a log whose confirms the test holds in its hand. Never a proof of durability: that is the real logs'.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::oneshot;

use super::*;
use crate::domain::{
    Cancellation, CommodityId, IdempotencyKey, NamedOrder, Partitions, Quantity, RequestFingerprint, Sequence, Stock, Terms, Units, UserId,
};
use crate::engine::{Answer, Command, KnownCommodity, Place, Recalled, Refusal, Snapshot};
use crate::event::{Event, LogVersion};
use crate::partition::{Busy, Reply, Sighting};

/// An append that waits for the test's word.
struct Sent {
    batch: Batch,
    confirm: oneshot::Sender<Result<(), InDoubt>>,
}

struct HandLog(mpsc::UnboundedSender<Sent>);

impl Log for HandLog {
    fn append(&self, batch: Batch) -> BoxFuture<'_, Result<(), InDoubt>> {
        let (confirm, confirmed) = oneshot::channel();
        self.0.send(Sent { batch, confirm }).expect("the test listens");
        Box::pin(async move { confirmed.await.unwrap_or_else(|_| Err(InDoubt("dropped".into()))) })
    }
}

/// Claims always succeed, each with a new epoch and the same snapshot.
struct HandOwnership {
    snapshot: Snapshot,
    sent: mpsc::UnboundedSender<Sent>,
    epochs: Mutex<u32>,
    applied: watch::Sender<(Epoch, Sequence)>,
}

impl Ownership for HandOwnership {
    fn claim(&self, _partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        let mut epoch = self.epochs.lock().unwrap();
        *epoch += 1;
        let claim = Claim {
            epoch: Epoch::new(*epoch).unwrap(),
            snapshot: self.snapshot.clone(),
            log: Arc::new(HandLog(self.sent.clone())),
            lost: CancellationToken::new(),
            log_version: LogVersion::NEWEST,
            applied: Some(self.applied.subscribe()),
        };
        Box::pin(async move { Ok(claim) })
    }

    fn release(&self, _partition: PartitionId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Claims always fail for want of a broker.
struct NoLog;

impl Ownership for NoLog {
    fn claim(&self, _partition: PartitionId) -> BoxFuture<'_, Result<Claim, ClaimError>> {
        Box::pin(async { Err(ClaimError::LogAway("the broker is blocked".into())) })
    }

    fn release(&self, _partition: PartitionId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

struct World {
    runner: Runner,
    ownership: Arc<HandOwnership>,
    sent: mpsc::UnboundedReceiver<Sent>,
    board: Arc<Board>,
    stop: CancellationToken,
}

const COMMODITY: i64 = 7;

fn noon() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).unwrap()
}

const fn settings() -> Settings {
    Settings {
        inbox_depth_max: 64,
        batch_commands_max: 16,
        retention: Duration::from_secs(60),
        append_timeout: Duration::from_secs(60),
        command_timeout: Duration::from_secs(60),
        stopped_retry: Duration::from_secs(60),
    }
}

fn world(total: i64) -> World {
    world_at(total, noon)
}

fn world_at(total: i64, clock: Clock) -> World {
    let commodity = crate::domain::Commodity {
        id: CommodityId::new(COMMODITY).unwrap(),
        terms: Terms {
            sku: None,
            name: "lamp".into(),
            description: String::new(),
            image_url: None,
            price: crate::domain::Price::new(100).unwrap(),
            currency: "EUR".parse().unwrap(),
            limit_per_user: None,
            hold_seconds: None,
            grace_seconds: Terms::GRACE_SECONDS,
            cancellation: Cancellation::Unpaid,
            starts_at: Timestamp::ZERO,
            ends_at: Timestamp::MAX,
        },
        stock: Stock::fresh(Units::new(total).unwrap()),
        paused: false,
        ended_at: None,
        closed_at: None,
        version: 1,
    };
    let (sender, sent) = mpsc::unbounded_channel();
    let snapshot = Snapshot { commodities: vec![KnownCommodity::fresh(commodity)], ..Snapshot::default() };
    let ownership = Arc::new(HandOwnership {
        snapshot,
        sent: sender,
        epochs: Mutex::new(0),
        applied: watch::Sender::new((Epoch::default(), Sequence::FENCE)),
    });
    let settings = settings();
    let (board, stop) = (Arc::new(Board::new(Partitions::new(1).unwrap())), CancellationToken::new());
    let runner = spawn(PartitionId::new(0).unwrap(), settings, ownership.clone(), Arc::clone(&board), clock, stop.clone());
    World { runner, ownership, sent, board, stop }
}

impl World {
    /// Sends a placing; the answer comes through the handle.
    fn place(&self, user: i64, key: Option<&str>) -> JoinHandle<Reply> {
        let inbox = self.runner.inbox.clone();
        let place = Place {
            commodity: CommodityId::new(COMMODITY).unwrap(),
            user: UserId::new(user).unwrap().into(),
            quantity: Quantity::ONE,
            key: key.map(|text| IdempotencyKey::from_text(text).unwrap()),
            fingerprint: RequestFingerprint::of(Quantity::ONE, None),
            unit_price: None,
        };
        tokio::spawn(async move { inbox.command(Command::Place(place)).await })
    }

    /// Lets the tasks run until nothing is left to do but what waits for the test.
    async fn settle(&self) {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}

fn placed(reply: &Reply) -> crate::domain::Order {
    match reply {
        Reply::Done(Answer::Placed(order)) => *order,
        other => panic!("expected a placed order, got {other:?}"),
    }
}

#[tokio::test]
async fn nobody_hears_of_an_order_before_its_batch_is_confirmed() {
    let mut world = world(5);
    let first = world.place(1, Some("k"));
    let sent = world.sent.recv().await.unwrap();
    let replay = world.place(1, Some("k"));
    world.settle().await;
    assert!(!first.is_finished() && !replay.is_finished());
    sent.confirm.send(Ok(())).unwrap();
    let order = placed(&first.await.unwrap());
    assert_eq!(replay.await.unwrap(), Reply::Done(Answer::Replayed(order)));
    assert_eq!((sent.batch.epoch.get(), sent.batch.sequence), (1, Sequence(1)));
}

#[tokio::test]
async fn what_gathers_while_a_batch_is_in_flight_becomes_the_next_batch() {
    let mut world = world(5);
    let first = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    let rest = [world.place(2, None), world.place(3, None)];
    world.settle().await;
    assert!(world.sent.try_recv().is_err(), "one batch in flight");
    sent.confirm.send(Ok(())).unwrap();
    let second = world.sent.recv().await.unwrap();
    assert_eq!((second.batch.sequence, second.batch.events.len()), (Sequence(2), 2));
    second.confirm.send(Ok(())).unwrap();
    placed(&first.await.unwrap());
    for reply in rest {
        placed(&reply.await.unwrap());
    }
    assert_eq!(world.board.walk(None).next().unwrap().stock.available.get(), 2);
}

#[tokio::test]
async fn a_refused_placing_is_answered_at_once() {
    let mut world = world(1);
    let first = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    assert_eq!(world.place(2, None).await.unwrap(), Reply::Refused(Refusal::SoldOut));
    assert!(!first.is_finished());
    sent.confirm.send(Ok(())).unwrap();
    placed(&first.await.unwrap());
}

#[tokio::test]
async fn in_doubt_answers_pending_to_what_was_sent_and_busy_to_what_was_not() {
    let mut world = world(5);
    let first = world.place(1, Some("k"));
    let sent = world.sent.recv().await.unwrap();
    let gathered = world.place(2, None);
    let replay = world.place(1, Some("k"));
    world.settle().await;
    let Event::Placed { order, .. } = sent.batch.events[0].clone() else { panic!("a placing was sent") };
    sent.confirm.send(Err(InDoubt("connection lost".into()))).unwrap();
    assert_eq!(first.await.unwrap(), Reply::Pending(Some(order.id)));
    assert_eq!(replay.await.unwrap(), Reply::Pending(Some(order.id)));
    assert_eq!(gathered.await.unwrap(), Reply::Busy(Busy::Unavailable));
}

#[tokio::test]
async fn after_doubt_the_partition_serves_again_in_a_new_epoch_from_the_tables() {
    let mut world = world(5);
    let first = world.place(1, None);
    world.sent.recv().await.unwrap().confirm.send(Err(InDoubt("nack".into()))).unwrap();
    let Reply::Pending(Some(lost)) = first.await.unwrap() else { panic!("in doubt is pending") };
    let again = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    assert_eq!((sent.batch.epoch.get(), sent.batch.sequence), (2, Sequence(1)));
    sent.confirm.send(Ok(())).unwrap();
    assert_ne!(placed(&again.await.unwrap()).id, lost);
    assert_eq!(world.board.walk(None).next().unwrap().stock.available.get(), 4, "the tables never had the first order");
}

#[tokio::test(start_paused = true)]
async fn a_late_confirm_is_pending_and_counts_when_it_comes() {
    let mut world = world(5);
    let first = world.place(1, Some("first"));
    let sent = world.sent.recv().await.unwrap();
    let gathered = world.place(2, Some("gathered"));
    world.settle().await;
    let Event::Placed { order, .. } = sent.batch.events[0].clone() else { panic!("a placing was sent") };
    assert_eq!(first.await.unwrap(), Reply::Pending(Some(order.id)), "told when the time is over");
    let Reply::Pending(Some(behind)) = gathered.await.unwrap() else { panic!("what rests on it is pending too") };
    assert_eq!(world.place(3, None).await.unwrap(), Reply::Busy(Busy::LogAway), "nobody waits any more");
    assert!(world.sent.try_recv().is_err(), "nothing is sent behind a batch in doubt");

    sent.confirm.send(Ok(())).unwrap();
    let second = world.sent.recv().await.unwrap();
    assert_eq!((second.batch.epoch.get(), second.batch.sequence), (1, Sequence(2)), "the engine has served on");
    let replay = world.place(1, Some("first"));
    second.confirm.send(Ok(())).unwrap();
    assert_eq!(replay.await.unwrap(), Reply::Done(Answer::Replayed(order)));
    assert!(matches!(world.runner.inbox.lookup(behind).await, Ok(Sighting::Known(_) | Sighting::Unknown { .. })));
    let next = world.place(3, None);
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    placed(&next.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_confirm_that_is_late() {
    let mut world = world(5);
    let first = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    assert!(matches!(first.await.unwrap(), Reply::Pending(Some(_))));
    world.stop.cancel();
    world.runner.stopped().await;
    assert!(sent.confirm.is_closed(), "its append was given up");
}

#[tokio::test]
async fn a_stop_waits_for_the_confirm_and_answers_everyone() {
    let mut world = world(5);
    let first = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    let second = world.place(2, None);
    world.settle().await;
    world.stop.cancel();
    let inbox = world.runner.inbox.clone();
    let stopped = tokio::spawn(world.runner.stopped());
    sent.confirm.send(Ok(())).unwrap();
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    placed(&first.await.unwrap());
    placed(&second.await.unwrap());
    stopped.await.unwrap();
    let late = inbox.command(Command::Pause(CommodityId::new(COMMODITY).unwrap())).await;
    assert_eq!(late, Reply::Busy(Busy::Unavailable));
}

#[tokio::test]
async fn an_order_is_shown_from_its_confirm_on_and_its_buyer_finds_it() {
    let mut world = world(5);
    let first = world.place(1, None);
    let sent = world.sent.recv().await.unwrap();
    let Event::Placed { order, .. } = sent.batch.events[0].clone() else { panic!("a placing was sent") };
    let inbox = world.runner.inbox.clone();
    let unknown = |next_number| Ok(Sighting::Unknown { epoch: Epoch::new(1).unwrap(), next_number, in_tables: true });
    assert_eq!(inbox.lookup(order.id).await, unknown(0));
    sent.confirm.send(Ok(())).unwrap();
    assert_eq!(placed(&first.await.unwrap()), order);
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(inbox.lookup(order.id).await, Ok(Sighting::Known(NamedOrder { order, foreign: None })));
    assert_eq!(inbox.orders_of_by(deadline, order.id.partition(), order.user).await, Ok(vec![order]));

    world.ownership.applied.send_replace((order.id.epoch(), Sequence(1)));
    while inbox.lookup(order.id).await != unknown(1) {
        tokio::task::yield_now().await;
    }
    assert_eq!(inbox.orders_of_by(deadline, order.id.partition(), order.user).await, Ok(Vec::new()));
}

/// The engine forgets what the tables have had for a while; whoever calls such an order off has to bring its row along.
#[tokio::test(start_paused = true)]
async fn an_order_that_the_tables_have_is_forgotten_and_its_row_makes_it_known_again() {
    let mut world = world(5);
    let first = world.place(1, None);
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    let order = placed(&first.await.unwrap());
    let applied = (order.id.epoch(), Sequence(1));
    world.ownership.applied.send_replace(applied);
    let inbox = world.runner.inbox.clone();
    let cancel = move |row| Command::Cancel { order: order.id, user: None, reason: None, row };
    // While it is known, it is called off for good: only a payment is asked for here, which a confirmed order refuses.
    while inbox.command(Command::ConfirmPayment { order: order.id, row: None }).await != Reply::Refused(Refusal::OrderNotFound) {
        tokio::time::advance(Duration::from_millis(500)).await;
    }
    let row = move |applied| {
        Some(Box::new(Recalled { order, key: None, payments: crate::domain::Payments::default(), applied, commodity: None }))
    };
    assert_eq!(inbox.command(cancel(row((applied.0, Sequence::FENCE)))).await, Reply::Refused(Refusal::StaleRow));
    let cancelled = tokio::spawn(async move { inbox.command(cancel(row(applied))).await });
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    let Reply::Done(Answer::Order(cancelled)) = cancelled.await.unwrap() else { panic!("cancelled") };
    assert_eq!(cancelled.status, crate::domain::OrderStatus::Cancelled);
}

/// The broker may be wrong about a lock: the tables are not about an epoch.
#[tokio::test(start_paused = true)]
async fn an_owner_that_sees_a_later_epoch_in_the_tables_starts_over() {
    let mut world = world(5);
    let first = world.place(1, None);
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    let epoch = placed(&first.await.unwrap()).id.epoch();
    let later = Epoch::new(epoch.get() + 1).unwrap();
    world.ownership.applied.send_replace((later, Sequence::FENCE));
    world.settle().await;
    let second = world.place(2, None);
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    assert_eq!(placed(&second.await.unwrap()).id.epoch(), later);
}

/// Nobody asks for it: a sale that is over for its retention is closed, shown as closed until the tables have that, and then forgotten.
#[tokio::test(start_paused = true)]
async fn what_is_over_for_its_retention_is_closed_and_hidden_when_the_tables_have_it() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    let after = |millis: i64| NOW.store(noon().millis() + millis, Ordering::Relaxed);
    after(0);
    let mut world = world_at(5, || Timestamp::from_millis(NOW.load(Ordering::Relaxed)).unwrap());
    let (inbox, id) = (world.runner.inbox.clone(), CommodityId::new(COMMODITY).unwrap());
    let command = |command| {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.command(command).await })
    };
    let ended = command(Command::End(id));
    world.sent.recv().await.unwrap().confirm.send(Ok(())).unwrap();
    assert!(matches!(ended.await.unwrap(), Reply::Done(Answer::Commodity(_))));

    after(59_999);
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(30)).await;
        world.settle().await;
    }
    assert!(world.sent.try_recv().is_err(), "it is kept until its retention is over");
    after(60_000);
    tokio::time::advance(Duration::from_secs(30)).await;
    let sent = world.sent.recv().await.unwrap();
    let position = (sent.batch.epoch, sent.batch.sequence);
    assert!(matches!(sent.batch.events[..], [Event::Closed { commodity, .. }] if commodity == id), "{:?}", sent.batch);
    sent.confirm.send(Ok(())).unwrap();
    let pause = Command::Pause(id);
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(1)).await;
        world.settle().await;
        assert_eq!(command(pause.clone()).await.unwrap(), Reply::Refused(Refusal::Closed));
        assert!(world.board.get(id).is_some_and(|shown| shown.closed_at.is_some()));
    }
    world.ownership.applied.send_replace(position);
    while world.board.get(id).is_some() {
        tokio::time::advance(Duration::from_secs(1)).await;
        world.settle().await;
    }
    assert_eq!(command(pause).await.unwrap(), Reply::Refused(Refusal::CommodityNotFound));
}

#[tokio::test(start_paused = true)]
async fn without_a_log_whoever_asks_is_told_instead_of_waiting() {
    let (board, stop) = (Arc::new(Board::new(Partitions::new(1).unwrap())), CancellationToken::new());
    let runner = spawn(PartitionId::new(0).unwrap(), settings(), Arc::new(NoLog), board, noon, stop.clone());
    let pause = || runner.inbox.command(Command::Pause(CommodityId::new(COMMODITY).unwrap()));
    // One that waited before it was known, and one that comes while it is.
    assert_eq!((pause().await, pause().await), (Reply::Busy(Busy::LogAway), Reply::Busy(Busy::LogAway)));
    stop.cancel();
    runner.stopped().await;
}
