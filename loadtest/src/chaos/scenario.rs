//! What can be done to a cluster, and what each needs and promises. Never does it: that is [`super::fault`]'s.

use std::time::Duration;

use super::proxy::Manner;
use super::servers::Kind;
use crate::cluster::Layout;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The only node that sells is killed (SIGKILL) and started again.
    SpikeKilled,
    /// Of three nodes, the owner of the commodity's partition is killed, and started again when another has taken over.
    OwnerKilled,
    /// Of three nodes, the owner is asked to stop (SIGTERM): no request may fail. It is started again.
    OwnerStopped,
    /// Of three nodes, the owner stands still for ten seconds (SIGSTOP, SIGCONT).
    OwnerPaused,
    /// Both nodes that sell are killed (SIGKILL) and started together: claims are given up half-way and partitions move, while the
    /// database server is asked about open transactions.
    SpikesTogether,
    /// Three nodes are stopped (SIGTERM) and started again, one after the other, while the database server is asked about open transactions: no
    /// request may fail.
    PartitionsMoved,
    /// Of three nodes, the owner loses its way to the broker until another sells the commodity: what is sent is dropped, nothing is
    /// reset.
    NetworkCut,
    /// A third node joins and takes over the commodity's partition: no request may fail.
    NodeJoins,
    /// Three nodes are stopped (SIGTERM) and started again, one after the other: no request may fail.
    RollingRestart,
    /// Both consumers are killed, one shortly after the other, and started again.
    ConsumerKilled,
    /// The only consumer is killed in the middle of a transaction, with rows written and not committed, and started again.
    ConsumerKilledInTransaction,
    /// The only consumer is killed, and readers who take fewer messages than came back, and leave, shuffle the log of the commodity's
    /// partition, before it is started again.
    LogShuffled,
    /// The only consumer cannot apply anything, and is killed with 128 messages in hand; so is one with 32, and one with 1.
    PrefetchShrinks,
    /// Two consumers cannot apply anything, and take the log over from each other when the other is killed, each time with another number of
    /// messages in hand.
    ConsumersAlternate,
    /// Messages are taken out of the log, and put back (`dead put-back`) by processes that are killed in the middle, and by one that is not.
    PutBackKilled,
    /// Of two nodes one or both are killed, and the log of the commodity's partition is purged, with accepted orders in it that no consumer
    /// has had: they are pending until the loss is accepted, and refused only then.
    LogPurged,
    /// A broker of its own is asked to stop (SIGTERM), and started again.
    BrokerRestarted,
    /// A broker of its own is killed (SIGKILL), and started again.
    BrokerKilled,
    /// A broker of its own stands still for six seconds (SIGSTOP, SIGCONT), which is longer than a confirm may take.
    BrokerPaused,
    /// Of a cluster of three brokers of its own, one is killed (SIGKILL), and started again.
    BrokerNodeKilled,
    /// Of a cluster of three brokers of its own, one is cut off from the others and from everybody else: what is sent is dropped, nothing
    /// is reset.
    BrokerNodeCut,
    /// The servers of a cluster of three brokers of its own are stopped (SIGTERM) and started again, one after the other.
    BrokerRolling,
    /// A broker of its own raises its memory or disk alarm, and takes no messages for some seconds.
    BrokerAlarm,
    /// The lock of the commodity's partition is deleted on the broker, while its owner lives and is connected.
    LockDeleted,
    /// A policy on a broker of its own lets locks expire (`expires`, 1 s) that nobody uses, for six seconds.
    LockExpires,
    /// The owner's connection to the broker is reset (RST) at a step of a publish: before it, inside it, after it, before its
    /// confirm, inside that, after that.
    ConnectionReset,
    /// The connection of the commodity's partition to the broker stands still for eight seconds, which is longer than a confirm may take;
    /// what is on sale in all other partitions is asked for meanwhile.
    LogStalled,
    /// Every message reaches the log, and so the consumer, twice.
    MessagesDoubled,
    /// A database server of its own is stopped for twenty seconds, in which selling goes on.
    DatabaseAway,
    /// The control: an order's row is deleted behind everybody's back. It must be found, so this scenario always fails.
    RowLost,
}

/// The broker takes a connection for dead after two heartbeats missed: within the time the cable is cut.
const NERVOUS: &[(&str, &str)] = &[("DOORBUSTER__BROKER__HEARTBEAT_SECONDS", "2")];

/// What [`super::fault`] counts on.
const USUAL_PREFETCH: &[(&str, &str)] = &[("DOORBUSTER__CONSUMER__PREFETCH", "128")];

/// What the pause of a turn runs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SellsAgain {
    /// There is no pause: the owner does not change.
    AllTheTime,
    /// The first order of a later epoch.
    InLaterEpoch,
    /// The first order of a later epoch, and it must come before the damage is mended.
    InLaterEpochMeanwhile,
    /// The first order that was asked for after the damage: the owner may change or not.
    InAnyEpoch,
}

/// What a scenario needs, and what must hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The cluster it needs.
    pub(super) layout: Layout,
    /// The server it hurts, which must be its own.
    pub(super) server: Option<Kind>,
    /// How many brokers of its own it needs that are servers of one cluster.
    pub(super) brokers: usize,
    /// What a proxy between the nodes and the broker is needed for.
    pub(super) proxy: Option<Manner>,
    /// What the pause runs to.
    pub(super) sells_again: SellsAgain,
    /// Whether buyers must not notice at all.
    pub(super) is_silent: bool,
    /// How long the damage usually lasts, or takes to be done, while selling goes on and must be seen to; zero where that is no time.
    pub(super) lasts: Duration,
    /// How long it usually takes to do it, again and again until it is done, while the pace is to stay the same.
    pub(super) takes: Duration,
    /// Settings of its processes that are not the usual ones.
    pub(super) environment: &'static [(&'static str, &'static str)],
}

impl Terms {
    /// Selling stops until there is a new epoch.
    const fn new_epoch(spikes: usize, consumers: usize) -> Self {
        let layout = Layout { spikes, consumers };
        Self {
            layout,
            server: None,
            brokers: 0,
            proxy: None,
            sells_again: SellsAgain::InLaterEpoch,
            is_silent: false,
            lasts: Duration::ZERO,
            takes: Duration::ZERO,
            environment: &[],
        }
    }

    /// The owner may be another afterwards, or not.
    const fn any_epoch(spikes: usize, consumers: usize) -> Self {
        Self { sells_again: SellsAgain::InAnyEpoch, ..Self::new_epoch(spikes, consumers) }
    }

    /// Nodes come and go in order: there is a new epoch, requests wait for it, and none fails.
    const fn in_order(spikes: usize, consumers: usize, lasts: Duration) -> Self {
        Self { is_silent: true, lasts, ..Self::new_epoch(spikes, consumers) }
    }

    /// Selling goes on.
    const fn silent(spikes: usize, consumers: usize) -> Self {
        Self { sells_again: SellsAgain::AllTheTime, is_silent: true, ..Self::new_epoch(spikes, consumers) }
    }
}

impl Scenario {
    /// What it needs, and what must hold.
    pub(super) const fn terms(self) -> Terms {
        match self {
            Self::SpikeKilled => Terms::new_epoch(1, 1),
            Self::OwnerKilled => Terms::new_epoch(3, 2),
            // It hands over before it ends: that is when somebody must ask.
            Self::OwnerStopped => Terms { takes: Duration::from_secs(5), ..Terms::in_order(3, 2, Duration::ZERO) },
            Self::SpikesTogether => Terms::new_epoch(2, 1),
            Self::OwnerPaused => Terms::any_epoch(3, 2),
            Self::NetworkCut => Terms { environment: NERVOUS, sells_again: SellsAgain::InLaterEpochMeanwhile, ..Terms::new_epoch(3, 2) },
            Self::NodeJoins => Terms::in_order(2, 1, Duration::from_secs(10)),
            Self::RollingRestart => Terms::in_order(3, 2, Duration::from_secs(20)),
            Self::PartitionsMoved => Terms::in_order(3, 1, Duration::from_secs(20)),
            // They are started again after each attempt to kill them with something in hand.
            Self::ConsumerKilled => Terms { takes: Duration::from_secs(3), ..Terms::silent(1, 2) },
            Self::ConsumerKilledInTransaction | Self::RowLost => Terms::silent(1, 1),
            // Selling goes on while messages gather and readers come and leave.
            Self::LogShuffled => Terms { takes: Duration::from_secs(5), ..Terms::silent(1, 1) },
            // More messages must gather than a consumer has in hand; at a slow pace each is one order's.
            Self::PrefetchShrinks => Terms { takes: Duration::from_secs(10), environment: USUAL_PREFETCH, ..Terms::silent(1, 1) },
            Self::ConsumersAlternate => Terms { takes: Duration::from_secs(10), environment: USUAL_PREFETCH, ..Terms::silent(1, 2) },
            Self::PutBackKilled => Terms { takes: Duration::from_secs(5), ..Terms::new_epoch(1, 1) },
            // Selling goes on until some orders are in the log alone.
            Self::LogPurged => Terms { takes: Duration::from_secs(3), ..Terms::new_epoch(2, 1) },
            Self::BrokerRestarted | Self::BrokerKilled => Terms { server: Some(Kind::Broker), ..Terms::new_epoch(1, 1) },
            Self::BrokerPaused => Terms { server: Some(Kind::Broker), takes: Duration::from_secs(10), ..Terms::any_epoch(1, 1) },
            Self::BrokerNodeKilled => Terms { brokers: 3, environment: NERVOUS, ..Terms::any_epoch(3, 2) },
            Self::BrokerNodeCut => Terms { brokers: 3, environment: NERVOUS, takes: Duration::from_secs(60), ..Terms::any_epoch(3, 2) },
            // A server takes half a minute to stop, to start, and to have what the others have.
            Self::BrokerRolling => Terms { brokers: 3, environment: NERVOUS, takes: Duration::from_secs(120), ..Terms::any_epoch(3, 2) },
            // `rabbitmqctl` takes seconds to start, and longer where the processors are busy.
            Self::BrokerAlarm => Terms { server: Some(Kind::Broker), lasts: Duration::from_secs(20), ..Terms::new_epoch(1, 1) },
            Self::LockExpires => Terms { server: Some(Kind::Broker), takes: Duration::from_secs(20), ..Terms::any_epoch(3, 2) },
            Self::LockDeleted => Terms { server: Some(Kind::Broker), takes: Duration::from_secs(10), ..Terms::new_epoch(3, 2) },
            Self::ConnectionReset => Terms { proxy: Some(Manner::Resetting), ..Terms::new_epoch(1, 1) },
            // Before and after it, the other partitions sell for as long.
            Self::LogStalled => Terms { proxy: Some(Manner::Stalling), takes: Duration::from_secs(35), ..Terms::any_epoch(2, 1) },
            Self::MessagesDoubled => Terms { proxy: Some(Manner::Doubling), ..Terms::silent(1, 1) },
            Self::DatabaseAway => Terms { server: Some(Kind::Database), lasts: Duration::from_secs(20), ..Terms::silent(1, 1) },
        }
    }
}
