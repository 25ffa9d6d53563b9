//! Payments: what takes money for us, what it tells us, and what is asked of it. Never decides about an order: that is the engine's; and
//! never believes an amount that came with a message: it asks the provider.

mod begin;
pub mod meters;
mod name;
pub mod provider;
mod providers;
pub mod webhook;
mod worker;

pub use begin::{Begun, NotBegun, begin};
pub use name::ProviderName;
pub use providers::{Known, Providers};
pub use worker::{Settled, Worker, description};

use crate::domain::PaymentId;
use crate::store::{Store, StoreError};
use webhook::Notice;

/// Which payment of ours a provider speaks of: by our name for it, or by its own. What is nobody's is none.
///
/// # Errors
/// [`StoreError`].
pub async fn payment_meant(store: &Store, provider: &ProviderName, notice: &Notice) -> Result<Option<PaymentId>, StoreError> {
    if let Some(id) = notice.reference.as_deref().and_then(|reference| reference.parse().ok()) {
        return Ok(Some(id));
    }
    match &notice.object {
        Some(object) => store.payment_of_object(provider, object).await,
        None => Ok(None),
    }
}
