//! The values everything else is made of: ids, times, money, quantities.
//!
//! Every type here is parsed once, at the edge, and is true from then on: fields are private and the constructors
//! refuse what the type's range does not hold. Nothing here reads a clock, draws a random number or does I/O.

mod ids;
mod money;
mod node;
mod operation;
mod order;
mod payment;
mod principal;
mod quantity;
mod reach;
mod sku;
mod terms;
pub mod text;
mod time;

pub use ids::{CommodityId, CouponId, Epoch, OrderId, PartitionId, Partitions, Sequence, SystemId, UserId};
pub use money::{Currency, Price};
pub use node::NodeId;
pub use operation::{Operation, OperationKey, Subject};
pub use order::{Discount, IdempotencyKey, NamedOrder, Order, OrderStatus, RequestFingerprint};
pub use payment::{Actor, Attempt, Cause, PaymentEnd, PaymentFact, PaymentId, PaymentStatus, Payments, Reason, Taken};
pub use principal::{Foreign, IssuerName, Principal, PrincipalKey};
pub use quantity::{Quantity, Units};
pub use reach::Reach;
pub use sku::Sku;
pub use terms::{Cancellation, Commodity, CommodityState, Stock, StockColumn, Terms, TermsChange};
pub use time::Timestamp;

/// A value from outside that its type does not hold, with the sentence to show for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);
