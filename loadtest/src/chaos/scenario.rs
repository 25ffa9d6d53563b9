//! What can be done to a cluster, and what each needs and promises. Never does it: that is [`super::fault`]'s.

use std::time::Duration;

use super::proxy::Manner;
use super::servers::Kind;
use crate::cluster::Layout;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The only node that sells is killed (SIGKILL) and started again.
    SpikeKilled,
    /// Of three nodes, the owner of the commodity's partition is killed, and started again a little later.
    OwnerKilled,
    /// Of three nodes, the owner is asked to stop (SIGTERM): no request may fail. It is started again.
    OwnerStopped,
    /// Both consumers are killed, one shortly after the other, and started again.
    ConsumerKilled,
    /// The only consumer is killed in the middle of a transaction, with rows written and not committed, and started again.
    ConsumerKilledInTransaction,
    /// A broker of its own is asked to stop (SIGTERM), and started again.
    BrokerRestarted,
    /// A broker of its own is killed (SIGKILL), and started again.
    BrokerKilled,
    /// A broker of its own raises its memory or disk alarm, and takes no messages for some seconds.
    BrokerAlarm,
    /// The owner's connection to the broker is reset (RST) at a step of a publish: before it, inside it, after it, before its
    /// confirm, inside that, after that.
    ConnectionReset,
    /// Every message reaches the log, and so the consumer, twice.
    MessagesDoubled,
    /// A database server of its own is stopped for twenty seconds, in which selling goes on.
    DatabaseAway,
    /// The control: an order's row is deleted behind everybody's back. It must be found, so this scenario always fails.
    RowLost,
}

/// What a scenario needs, and what must hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The cluster it needs.
    pub(super) layout: Layout,
    /// The server it hurts, which must be its own.
    pub(super) server: Option<Kind>,
    /// What a proxy between the nodes and the broker is needed for.
    pub(super) proxy: Option<Manner>,
    /// Whether a commodity stops selling until its partition has a new epoch.
    pub(super) changes_owner: bool,
    /// Whether buyers must not notice at all.
    pub(super) is_silent: bool,
    /// How long the damage lasts, or takes to be done, while selling goes on and must not come to its end; zero where that is no time.
    pub(super) lasts: Duration,
}

impl Terms {
    /// Selling stops until there is a new epoch.
    const fn new_epoch(spikes: usize, consumers: usize) -> Self {
        let layout = Layout { spikes, consumers };
        Self { layout, server: None, proxy: None, changes_owner: true, is_silent: false, lasts: Duration::ZERO }
    }

    /// Selling goes on.
    const fn silent(spikes: usize, consumers: usize) -> Self {
        Self { changes_owner: false, is_silent: true, ..Self::new_epoch(spikes, consumers) }
    }
}

impl Scenario {
    /// What it needs, and what must hold.
    pub(super) const fn terms(self) -> Terms {
        match self {
            Self::SpikeKilled => Terms::new_epoch(1, 1),
            Self::OwnerKilled => Terms::new_epoch(3, 2),
            Self::OwnerStopped => Terms { is_silent: true, ..Terms::new_epoch(3, 2) },
            Self::ConsumerKilled => Terms::silent(1, 2),
            Self::ConsumerKilledInTransaction | Self::RowLost => Terms::silent(1, 1),
            Self::BrokerRestarted | Self::BrokerKilled => Terms { server: Some(Kind::Broker), ..Terms::new_epoch(1, 1) },
            // `rabbitmqctl` takes seconds to start, and longer where the processors are busy.
            Self::BrokerAlarm => Terms { server: Some(Kind::Broker), lasts: Duration::from_secs(20), ..Terms::new_epoch(1, 1) },
            Self::ConnectionReset => Terms { proxy: Some(Manner::Resetting), ..Terms::new_epoch(1, 1) },
            Self::MessagesDoubled => Terms { proxy: Some(Manner::Doubling), ..Terms::silent(1, 1) },
            Self::DatabaseAway => Terms { server: Some(Kind::Database), lasts: Duration::from_secs(20), ..Terms::silent(1, 1) },
        }
    }
}
