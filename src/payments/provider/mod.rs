//! The seam to whoever takes the money. What is asked of a provider and what it can answer, whichever it is: each wait has a bound, and each
//! failure says whether the thing may have been done. Never repeats anything by itself, and never decides what an answer means for an order.

mod error;
mod sandbox;
mod stripe;
pub(crate) mod transport;

use std::time::Duration;

use secrecy::SecretString;

pub use error::ProviderError;

use crate::domain::{Currency, Timestamp};

/// The longest id of a provider that is taken, in bytes.
pub const ID_BYTES_MAX: usize = 255;

/// Events asked for at a time, at most.
pub const EVENTS_MAX: u32 = 100;

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The API of the sandbox, with Standard Webhooks.
    Standard,
    /// Stripe's: Checkout Sessions, PaymentIntents and refunds, with its own signatures.
    Stripe,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Stripe];

    /// The word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Stripe => "stripe",
        }
    }
}

/// Where a provider is, and how it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// What its paths follow.
    pub url: String,
    /// What we show it.
    pub secret: SecretString,
    /// How long one question may take, from the connection to the last byte.
    pub timeout: Duration,
    /// Questions at the same time, at most.
    pub in_flight_max: usize,
    /// The authorities (PEM) that its certificate is checked against, instead of the system's.
    pub ca_file: Option<std::path::PathBuf>,
}

impl Settings {
    fn transport(&self) -> Result<transport::Transport, String> {
        let (url, ca_file) = (self.url.clone(), self.ca_file.clone());
        transport::Transport::new(&transport::Reach { url, timeout: self.timeout, in_flight_max: self.in_flight_max, ca_file })
    }
}

/// So much money: whole minor units, as ISO 4217 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Minor units.
    pub minor: i64,
    /// Of what.
    pub currency: Currency,
}

/// A payment to be made possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPayment {
    /// The same for every repetition: the provider makes one payment of it, as long as it remembers the key.
    pub key: String,
    /// Our name for the payment: comes back with everything the provider says about it.
    pub reference: String,
    /// The order it is for, for people who look at the provider's pages.
    pub order: String,
    /// What it costs.
    pub amount: Amount,
    /// What the buyer reads.
    pub description: String,
    /// Where the buyer goes afterwards.
    pub return_url: Option<String>,
    /// When we wrote it down: repetitions say the same.
    pub started_at: Timestamp,
    /// When we will have cancelled it, whatever the provider does.
    pub expires_at: Timestamp,
}

/// A payment that the buyer can make now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The provider's id.
    pub id: String,
    /// Where the buyer pays.
    pub checkout_url: String,
    /// How it stands.
    pub state: State,
}

/// How a payment stands at its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The buyer may pay.
    Open,
    /// The buyer has paid, and it is not known yet whether the money comes. It can't be called off.
    Processing,
    /// The money is set aside for us and not taken yet.
    Authorized,
    /// The money was taken.
    Captured,
    /// The buyer's money did not come, and will not.
    Failed,
    /// It was called off, or let go: no money was taken.
    Cancelled,
}

/// A payment as its provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The provider's id.
    pub id: String,
    /// Our name for it, as the provider has it.
    pub reference: Option<String>,
    /// How it stands.
    pub state: State,
    /// What it is about.
    pub amount: Amount,
    /// Minor units that were ever set aside for us.
    pub authorized: i64,
    /// Minor units that were taken.
    pub captured: i64,
    /// Minor units that went back, or are on their way.
    pub refunded: i64,
}

/// What came of calling a payment off, or of letting an authorisation go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelling {
    /// It is over, by this or before: no money was taken and none will be.
    Over(View),
    /// It can't be: the buyer was faster. The money is set aside, or taken.
    Succeeded(View),
    /// It can't be now: whether the money comes is not known yet.
    Processing(View),
}

/// What came of taking the money that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capturing {
    /// It is taken, by this or before.
    Captured(View),
    /// There is nothing to take: this is how it stands.
    Impossible(View),
}

/// Money that is to go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRefund {
    /// The same for every repetition.
    pub key: String,
    /// The payment's id at the provider.
    pub payment: String,
    /// Our name for the refund: what it is found by.
    pub reference: String,
    /// How much.
    pub amount: Amount,
}

/// A refund as the provider has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The provider's id.
    pub id: String,
    /// Our name for it, as the provider has it.
    pub reference: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// How it stands.
    pub state: RefundState,
}

/// How a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// On its way.
    Pending,
    /// The provider says that the money went back.
    Done,
    /// It did not go back.
    Failed,
}

/// That something happened to an object, and nothing of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEvent {
    /// The provider's id of the event: the same in its webhook.
    pub id: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// The object it is about, if it says so.
    pub object: Option<String>,
    /// Our name for the payment, if the object has it.
    pub reference: Option<String>,
}

/// Some events, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// At most [`EVENTS_MAX`].
    pub items: Vec<ProviderEvent>,
    /// Whether there are later ones already.
    pub more: bool,
}

/// A provider that can be asked. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Provider {
    driver: Driver,
}

#[derive(Clone, Debug)]
enum Driver {
    Sandbox(std::sync::Arc<sandbox::Sandbox>),
    Stripe(std::sync::Arc<stripe::Stripe>),
}

/// Asks whichever it is.
macro_rules! ask {
    ($self:ident, $driver:ident => $question:expr) => {
        match &$self.driver {
            Driver::Sandbox($driver) => $question.await,
            Driver::Stripe($driver) => $question.await,
        }
    };
}

impl Provider {
    /// Makes it ready to be asked; asks nothing yet.
    ///
    /// # Errors
    /// A sentence about the URL, the secret, or the file of authorities.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let driver = match settings.scheme {
            Scheme::Standard => Driver::Sandbox(sandbox::Sandbox::new(settings)?.into()),
            Scheme::Stripe => Driver::Stripe(stripe::Stripe::new(settings)?.into()),
        };
        Ok(Self { driver })
    }

    /// Makes a payment possible: nothing is charged by it. The same key gives the same payment.
    ///
    /// # Errors
    /// [`ProviderError`]; after [`ProviderError::Unknown`] it may be there. Then it is asked for again under the same key; if the key is
    /// forgotten by then there are two, of which nobody knows the first one's address, so that it can't be paid.
    pub async fn create(&self, payment: &NewPayment) -> Result<Created, ProviderError> {
        ask!(self, driver => driver.create(payment))
    }

    /// How a payment stands.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn fetch(&self, id: &str) -> Result<View, ProviderError> {
        ask!(self, driver => driver.fetch(id))
    }

    /// Takes all of the money that was set aside. What was taken before stays taken once.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn capture(&self, id: &str) -> Result<Capturing, ProviderError> {
        ask!(self, driver => driver.capture(id))
    }

    /// Calls off a payment that the buyer has not made yet. Never lets go what is set aside.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn cancel(&self, id: &str) -> Result<Cancelling, ProviderError> {
        ask!(self, driver => driver.cancel(id))
    }

    /// Lets go what was set aside, so that the buyer is not charged.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn void(&self, id: &str) -> Result<Cancelling, ProviderError> {
        ask!(self, driver => driver.void(id))
    }

    /// Gives money back. Whoever repeats it looks first whether it is among [`Provider::refunds`]: the key may be forgotten.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn refund(&self, refund: &NewRefund) -> Result<Refund, ProviderError> {
        ask!(self, driver => driver.refund(refund))
    }

    /// The refunds of a payment.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub async fn refunds(&self, id: &str) -> Result<Vec<Refund>, ProviderError> {
        ask!(self, driver => driver.refunds(id))
    }

    /// The events after one; without one, the newest.
    ///
    /// # Errors
    /// [`ProviderError`]; [`ProviderError::Missing`] where the provider does not know that event any more.
    pub async fn events(&self, after: Option<&str>) -> Result<Events, ProviderError> {
        ask!(self, driver => driver.events(after))
    }
}

impl View {
    /// What it means for whoever wanted it called off.
    fn cancelling(self) -> Result<Cancelling, ProviderError> {
        match self.state {
            State::Cancelled | State::Failed => Ok(Cancelling::Over(self)),
            State::Authorized | State::Captured => Ok(Cancelling::Succeeded(self)),
            State::Processing => Ok(Cancelling::Processing(self)),
            // It says that it can't be called off, and that the buyer may still pay: it has changed in between.
            State::Open => Err(ProviderError::Unknown("the payment is open and was not called off".to_owned())),
        }
    }
}

/// An id that is fit for a path: what a provider gives is not put into a URL unseen.
fn checked_id(id: &str) -> Result<&str, ProviderError> {
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_id { Ok(id) } else { Err(ProviderError::Missing) }
}
