//! The tables as sea-orm sees them. Never used to write orders: the projection has statements of its own for that.

/// Orders: what was accepted.
pub mod order {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub struct Model {
        /// The order id, which is also its time.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        /// What was ordered.
        pub commodity_id: i64,
        /// Who ordered: the lower half of their key, of an account of our own its number.
        pub user_id: i64,
        /// Units.
        pub quantity: i32,
        /// Minor units of `currency`.
        pub unit_price: i64,
        /// ISO 4217.
        pub currency: String,
        /// `OrderStatus::code`.
        pub status: i16,
        /// Unix milliseconds.
        pub pay_by: Option<i64>,
        /// The reduced key, until it is forgotten.
        pub idempotency_key: Option<Uuid>,
        /// What the request asked for.
        pub fingerprint: i64,
        /// Unix milliseconds of the last change of status.
        pub changed_at: i64,
        /// Leads the index of buyers' lists, see the migrations.
        pub run: i32,
        /// The higher half of the buyer's key; 0 for an account of our own.
        pub user_high: i64,
        /// Another issuer's account, as `<issuer's name>:<subject>`.
        pub user_text: Option<String>,
        /// How long after `pay_by` its units are held, in seconds.
        pub grace_seconds: i32,
        /// What a coupon takes off, in minor units.
        pub discount: i64,
        /// The coupon.
        pub coupon_id: Option<i64>,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Commodities: terms and stock.
pub mod commodity {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "commodities")]
    pub struct Model {
        /// Given by the sequence.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Where it belongs.
        pub partition_id: i32,
        /// See `Terms`.
        pub sku: Option<String>,
        /// See `Terms`.
        pub name: String,
        /// See `Terms`.
        #[sea_orm(column_type = "Text")]
        pub description: String,
        /// See `Terms`.
        pub image_url: Option<String>,
        /// Minor units of `currency`.
        pub price: i64,
        /// ISO 4217.
        pub currency: String,
        /// See `Terms`.
        pub limit_per_user: Option<i32>,
        /// Seconds.
        pub hold_seconds: Option<i32>,
        /// Seconds.
        pub grace_seconds: i32,
        /// `Cancellation::code`.
        pub cancellation: i16,
        /// Unix milliseconds.
        pub starts_at: i64,
        /// Unix milliseconds.
        pub ends_at: i64,
        /// Units in all.
        pub total: i64,
        /// Units on sale.
        pub available: i64,
        /// Units in reserved orders.
        pub held: i64,
        /// Units in confirmed and paid orders.
        pub sold: i64,
        /// Whether an operator paused the sale.
        pub paused: bool,
        /// Unix milliseconds.
        pub ended_at: Option<i64>,
        /// The ETag.
        pub version: i64,
        /// Unix milliseconds; a removed commodity is not listed any more.
        pub removed_at: Option<i64>,
        /// Unix milliseconds; a closed commodity is history.
        pub closed_at: Option<i64>,
        /// Unix milliseconds of the audit that found a closed commodity right.
        pub sealed_at: Option<i64>,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Commodities that will be listed.
pub mod listing {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "listings")]
    pub struct Model {
        /// Given by the sequence.
        #[sea_orm(primary_key, auto_increment = false)]
        pub commodity_id: i64,
        /// See `Terms`.
        pub sku: Option<String>,
        /// See `Terms`.
        pub name: String,
        /// See `Terms`.
        #[sea_orm(column_type = "Text")]
        pub description: String,
        /// See `Terms`.
        pub image_url: Option<String>,
        /// Minor units of `currency`.
        pub price: i64,
        /// ISO 4217.
        pub currency: String,
        /// See `Terms`.
        pub limit_per_user: Option<i32>,
        /// Seconds.
        pub hold_seconds: Option<i32>,
        /// Seconds.
        pub grace_seconds: i32,
        /// `Cancellation::code`.
        pub cancellation: i16,
        /// Unix milliseconds.
        pub starts_at: i64,
        /// Unix milliseconds.
        pub ends_at: i64,
        /// Units in all.
        pub total: i64,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Claims on article numbers.
pub mod sku {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "skus")]
    pub struct Model {
        /// The number.
        #[sea_orm(primary_key, auto_increment = false)]
        pub sku: String,
        /// Whose claim it is.
        pub commodity_id: i64,
        /// Grows by one each time it is claimed.
        pub claims: i64,
        /// Claims of which it is not known what came of them.
        pub open_claims: i64,
        /// The highest version of the commodity that one of those can be carried out in.
        pub version: i64,
        /// The highest version of the commodity that is known to have the number; 0 = of none it is known.
        pub since_version: i64,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Partitions: who owns them and how far the projection is.
pub mod partition {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "partitions")]
    pub struct Model {
        /// The index.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        /// The node that claimed it last.
        pub owner: Option<String>,
        /// The last epoch that was claimed.
        pub epoch: i64,
        /// The epoch the projection is in.
        pub applied_epoch: i64,
        /// The last batch of that epoch in the tables.
        pub applied_sequence: i64,
        /// Which parts are the checkpoint's; 0 = there is none.
        pub checkpoint_generation: i64,
        /// The position the parts were written at.
        pub checkpoint_epoch: i64,
        /// See `checkpoint_epoch`.
        pub checkpoint_sequence: i64,
        /// How many parts it has.
        pub checkpoint_parts: i32,
        /// How large they are together.
        pub checkpoint_bytes: i64,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Users: the built-in accounts.
pub mod user {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        /// Given by the database.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// As it was registered.
        pub username: String,
        /// In lower case, as bytes: unique.
        pub username_key: Vec<u8>,
        /// PHC form.
        pub password_hash: String,
        /// `Role::code`.
        pub role: i16,
        /// Unix milliseconds.
        pub created_at: i64,
        /// How often its password or role was changed.
        pub generation: i64,
        /// The number of the last of these changes, among those of all accounts.
        pub change_number: i64,
        /// Unix milliseconds of it.
        pub changed_at: i64,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Nodes: processes that may own partitions.
pub mod node {
    use sea_orm::entity::prelude::*;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "nodes")]
    pub struct Model {
        /// The configured id.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// The process.
        pub instance: i64,
        /// Where other nodes find it.
        pub internal_address: String,
        /// 0 joining, 1 active, 2 draining, 3 gone.
        pub state: i16,
        /// Unix milliseconds.
        pub started_at: i64,
        /// Unix milliseconds.
        pub heartbeat_at: i64,
        /// 0 up, 1 down, 2 away.
        pub broker: i16,
        /// The newest form of log batches that a process reads.
        pub log_version: i16,
        /// The process that said so.
        pub log_version_instance: i64,
    }

    /// None.
    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
