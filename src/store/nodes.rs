//! Nodes: who says that they live. Never decides who owns a partition.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, SqlErr, sea_query::Expr};

use super::entity::node::{ActiveModel, Column, Entity, Model};
use super::{Store, StoreError};
use crate::domain::{NodeId, Reach, Timestamp};
use crate::event::LogVersion;
use std::net::SocketAddr;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Starting: not counted on yet.
    Joining,
    /// Takes partitions.
    Active,
    /// Gives up what it has and takes no more.
    Draining,
    /// Stopped in order.
    Gone,
}

impl NodeState {
    /// Every state, in the order of their codes.
    pub const ALL: [NodeState; 4] = [Self::Joining, Self::Active, Self::Draining, Self::Gone];

    /// The word used in JSON and in lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }

    const fn code(self) -> i16 {
        self as i16
    }

    fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// A node as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: NodeId,
    /// Its process: another one under the same id has another number.
    pub instance: u64,
    /// Where other nodes find it.
    pub address: SocketAddr,
    /// Where it is in its life.
    pub state: NodeState,
    /// When it started, on its own clock.
    pub started_at: Timestamp,
    /// Changes while it lives. Only that it changes means anything: clocks differ.
    pub heartbeat_at: Timestamp,
    /// How it reached the broker when it said so last.
    pub broker: Reach,
    /// The newest form of the log that its process reads and writes.
    pub log_version: LogVersion,
}

impl Store {
    /// Every node there ever was, by id.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = Entity::find().order_by_asc(Column::Id).all(self.reader()).await?;
        rows.into_iter().map(Model::row).collect()
    }

    /// Enters a node: a new id, or in the place of the process that `instead_of` names. Whether that was so.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn enter_node(&self, node: &NodeRow, instead_of: Option<u64>) -> Result<bool, StoreError> {
        let row = ActiveModel {
            id: Set(node.id.as_str().to_owned()),
            instance: Set(node.instance.cast_signed()),
            internal_address: Set(node.address.to_string()),
            state: Set(node.state.code()),
            started_at: Set(node.started_at.millis()),
            heartbeat_at: Set(node.heartbeat_at.millis()),
            broker: Set(node.broker as i16),
            log_version: Set(node.log_version.get().into()),
            log_version_instance: Set(node.instance.cast_signed()),
        };
        let writer = &self.inner.connections.writer;
        match instead_of {
            None => match Entity::insert(row).exec_without_returning(writer).await {
                Ok(_) => Ok(true),
                Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(false),
                Err(error) => Err(error.into()),
            },
            Some(before) => {
                let update = Entity::update_many().set(row).filter(Column::Id.eq(node.id.as_str()));
                Ok(update.filter(Column::Instance.eq(before.cast_signed())).exec(writer).await?.rows_affected == 1)
            }
        }
    }

    /// Says that a process lives, and how it reaches the broker. Whether it still stands under its id: false when another process took its place.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn beat(&self, id: &NodeId, instance: u64, now: Timestamp, broker: Reach) -> Result<bool, StoreError> {
        let beat = Entity::update_many()
            .col_expr(Column::HeartbeatAt, Expr::value(now.millis()))
            .col_expr(Column::Broker, Expr::value(broker as i16))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::Instance.eq(instance.cast_signed()));
        // MySQL and SQLite both count the rows that were found: an unchanged millisecond counts.
        Ok(beat.exec(&self.inner.connections.writer).await?.rows_affected == 1)
    }

    /// Moves a process on from one of these states. Whether it was in one of them.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn move_node(&self, id: &NodeId, instance: u64, from: &[NodeState], to: NodeState) -> Result<bool, StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::State, Expr::value(to.code()))
            .filter(Column::Id.eq(id.as_str()))
            .filter(Column::Instance.eq(instance.cast_signed()))
            .filter(Column::State.is_in(from.iter().map(|state| state.code())));
        Ok(update.exec(&self.inner.connections.writer).await?.rows_affected == 1)
    }
}

impl Model {
    fn row(self) -> Result<NodeRow, StoreError> {
        let corrupt = |column: &str| StoreError::Corrupt(format!("nodes.{column} of {:?}", self.id));
        let time = |column, millis| Timestamp::from_millis(millis).map_err(|_| corrupt(column));
        // One of an older release says nothing, and one of a newer release knows more than this one.
        let log_version = match u8::try_from(self.log_version).map(LogVersion::new) {
            _ if self.log_version_instance != self.instance => LogVersion::OLDEST,
            Ok(Ok(version)) => version,
            Ok(Err(_)) => LogVersion::NEWEST,
            Err(_) => return Err(corrupt("log_version")),
        };
        Ok(NodeRow {
            log_version,
            id: self.id.parse().map_err(|_| corrupt("id"))?,
            instance: self.instance.cast_unsigned(),
            address: self.internal_address.parse().map_err(|_| corrupt("internal_address"))?,
            state: NodeState::from_code(self.state).ok_or_else(|| corrupt("state"))?,
            started_at: time("started_at", self.started_at)?,
            heartbeat_at: time("heartbeat_at", self.heartbeat_at)?,
            broker: usize::try_from(self.broker).ok().and_then(|code| Reach::ALL.get(code).copied()).ok_or_else(|| corrupt("broker"))?,
        })
    }
}
