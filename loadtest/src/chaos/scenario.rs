//! What can be done to a cluster, and what each needs and promises. Never does it: that is [`super::fault`]'s.

use std::time::Duration;

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
    /// A database server of its own is stopped for twenty seconds, in which selling goes on.
    DatabaseAway,
}

impl Scenario {
    /// The server it hurts, which must be its own.
    pub(super) const fn server(self) -> Option<Kind> {
        match self {
            Self::SpikeKilled | Self::OwnerKilled | Self::OwnerStopped | Self::ConsumerKilled | Self::ConsumerKilledInTransaction => None,
            Self::BrokerRestarted | Self::BrokerKilled => Some(Kind::Broker),
            Self::DatabaseAway => Some(Kind::Database),
        }
    }

    /// The cluster it needs.
    pub(super) const fn layout(self) -> Layout {
        match self {
            Self::SpikeKilled | Self::ConsumerKilledInTransaction | Self::BrokerRestarted | Self::BrokerKilled | Self::DatabaseAway => {
                Layout { spikes: 1, consumers: 1 }
            }
            Self::OwnerKilled | Self::OwnerStopped => Layout { spikes: 3, consumers: 2 },
            Self::ConsumerKilled => Layout { spikes: 1, consumers: 2 },
        }
    }

    /// Whether a commodity stops selling until its partition has a new epoch.
    pub(super) const fn changes_owner(self) -> bool {
        match self {
            Self::SpikeKilled | Self::OwnerKilled | Self::OwnerStopped | Self::BrokerRestarted | Self::BrokerKilled => true,
            Self::ConsumerKilled | Self::ConsumerKilledInTransaction | Self::DatabaseAway => false,
        }
    }

    /// Whether buyers must not notice at all.
    pub(super) const fn is_silent(self) -> bool {
        match self {
            Self::OwnerStopped | Self::ConsumerKilled | Self::ConsumerKilledInTransaction | Self::DatabaseAway => true,
            Self::SpikeKilled | Self::OwnerKilled | Self::BrokerRestarted | Self::BrokerKilled => false,
        }
    }

    /// How long the damage lasts, during which selling goes on and must not come to its end; zero where it does not go on.
    pub(super) const fn lasts(self) -> Duration {
        match self {
            Self::DatabaseAway => Duration::from_secs(20),
            Self::SpikeKilled
            | Self::OwnerKilled
            | Self::OwnerStopped
            | Self::ConsumerKilled
            | Self::ConsumerKilledInTransaction
            | Self::BrokerRestarted
            | Self::BrokerKilled => Duration::ZERO,
        }
    }
}
