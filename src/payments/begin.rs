//! Makes a payment that the engine has started possible at its provider, for a buyer who waits: writes down what is asked before it is asked, so
//! that whoever repeats it asks for the same. Never charges anybody.

use super::provider::{Amount, ProviderError, State};
use super::worker;
use super::{ProviderName, Providers};
use crate::domain::{PaymentId, PaymentStatus, Timestamp};
use crate::store::{Asked, ProviderPayment, Store, StoreError};

/// A payment that its buyer can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Which provider.
    pub provider: ProviderName,
    /// How it stands there.
    pub status: PaymentStatus,
    /// Where the buyer pays; none where there is nothing to be paid any more.
    pub checkout_url: Option<String>,
}

/// Why there is nothing to pay at.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// There is no provider, or it is not set up any more.
    #[error("no payment provider is set up")]
    NoProvider,
    /// The provider did not help.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The tables could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a payment possible, or finds how it was made possible before. `asked` counts if nobody has asked before.
///
/// # Errors
/// [`NotBegun`]; nothing was charged. Asked again, it goes on.
pub async fn begin(
    (store, providers): (&Store, &Providers),
    id: PaymentId,
    (amount, expires_at): (Amount, Timestamp),
    asked: Asked,
) -> Result<Begun, NotBegun> {
    let mut row = match store.provider_payment(id).await? {
        Some(row) => row,
        None => {
            let (name, known) = providers.chosen().ok_or(NotBegun::NoProvider)?;
            let of_provider = known.return_url.as_ref().map(|url| url.replace("{order_id}", &id.order.to_string()));
            let asked = Asked { return_url: asked.return_url.or(of_provider), ..asked };
            store.ask_provider(id, name, &asked).await?
        }
    };
    if row.object.is_none() {
        let known = providers.get(&row.provider).ok_or(NotBegun::NoProvider)?;
        let Some(asked) = row.asked.clone() else { return Err(StoreError::Corrupt(format!("payment {id} was asked for nothing")).into()) };
        let created = worker::create(&known.provider, worker::new_payment(id, amount, expires_at, &asked)).await?;
        row =
            ProviderPayment { object: Some(created.id), checkout_url: Some(created.checkout_url), status: status_of(created.state), ..row };
        store.note_provider_payment(id, &row).await?;
    }
    Ok(Begun { provider: row.provider, status: row.status, checkout_url: row.checkout_url })
}

fn status_of(state: State) -> PaymentStatus {
    match state {
        State::Open => PaymentStatus::Open,
        State::Processing => PaymentStatus::Processing,
        State::Authorized => PaymentStatus::Authorized,
        State::Captured => PaymentStatus::Captured,
        State::Failed => PaymentStatus::Failed,
        State::Cancelled => PaymentStatus::Cancelled,
    }
}
