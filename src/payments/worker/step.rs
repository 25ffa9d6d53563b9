//! One payment, as far as it can be brought now: asks its provider, does what [`settlement`] says, tells the engine. Can be begun again at any
//! point by anybody. Never decides what is to be done.

use std::time::Duration;

use super::Worker;
use crate::domain::{PaymentEnd, PaymentId, PaymentStatus, Taken, Timestamp};
use crate::engine::{Command, Refusal};
use crate::payments::provider::{
    Amount, Cancelling, Capturing, Created, NewPayment, NewRefund, Provider, ProviderError, Refund, RefundState, State, View,
};
use crate::payments::{Known, meters};
use crate::routing::Reply;
use crate::settlement::{self, Seen, Step};
use crate::store::{Asked, ProviderPayment, StoreError, StoredPayment};

/// Steps in one go, at most: asked, made, called off, told.
const STEPS_MAX: usize = 6;

/// Keys that are tried for one thing, at most: a provider may keep a failure under one.
const KEYS_MAX: u32 = 5;

/// The pauses after a provider could not be asked, in seconds: doubled each time, from the first to the last.
const RETRY_SECONDS: (u64, u64) = (1, 60);

/// When something is looked at again that a provider refuses, and nobody here can help.
const REFUSED_PAUSE: Duration = Duration::from_secs(300);

/// When a payment is looked at again that its buyer may make.
const OPEN_PAUSE: Duration = Duration::from_secs(15);

/// When one is looked at again that its provider is at, or whose refund is on its way.
const PROCESSING_PAUSE: Duration = Duration::from_secs(2);
const PROCESSING_PAUSE_MAX: Duration = Duration::from_secs(60);

/// When it is looked whether the tables have what the engine was told: what it came to makes the payment due by itself.
const TOLD_PAUSE: Duration = Duration::from_secs(10);

/// When an engine is told again that could not be.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
const ENGINE_PAUSE_LONG: Duration = Duration::from_secs(60);

/// When a payment is to be looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Never: there is nothing left to do, unless there is news.
    Done,
    /// After that time.
    In(Duration),
}

/// What came of a question.
enum Asking {
    /// It stands so, and is about so much, as far as that is known.
    Seen(Seen, Option<Amount>),
    /// It is to be looked at later.
    Later(Duration),
}

impl Worker {
    /// Brings a payment as far as it can be brought now. `is_over`: nobody may pay it any more.
    ///
    /// # Errors
    /// [`StoreError`]; then it is looked at again.
    pub async fn settle(&self, payment: &StoredPayment, is_over: bool) -> Result<Settled, StoreError> {
        let id = payment.id;
        let Some(mut row) = self.row_of(payment).await? else { return Ok(Settled::In(REFUSED_PAUSE)) };
        let Some(known) = self.providers.get(&row.provider).cloned() else {
            tracing::error!(payment = %id, provider = %row.provider, "payment {id} is at provider {}, which is not set up", row.provider);
            return Ok(Settled::In(REFUSED_PAUSE));
        };
        let mut asking = self.look(&known.provider, payment, &mut row).await?;
        for _ in 0..STEPS_MAX {
            let (seen, amount) = match asking {
                Asking::Seen(seen, amount) => (seen, amount),
                Asking::Later(pause) => return Ok(Settled::In(pause)),
            };
            let object = row.object.clone().unwrap_or_default();
            asking = match settlement::next(payment.status, is_over, seen) {
                Step::Done => return Ok(Settled::Done),
                Step::Wait => return Ok(Settled::In(self.pause(payment, seen))),
                Step::Create => self.create(&known, payment, &mut row).await?,
                Step::Cancel => self.heard(payment, &mut row, of_cancelling(known.provider.cancel(&object).await)).await?,
                Step::Void => self.heard(payment, &mut row, of_cancelling(known.provider.void(&object).await)).await?,
                Step::Capture => self.heard(payment, &mut row, of_capturing(known.provider.capture(&object).await)).await?,
                Step::Refund => self.refund(&known.provider, payment, &mut row).await?,
                // What the provider has money of it knows the amount of.
                Step::Succeeded(taken) => return Ok(self.tell_succeeded(id, amount.unwrap_or_else(|| amount_of(payment)), taken).await),
                Step::Ended(how) => return Ok(self.tell_ended(id, how).await),
            };
        }
        Ok(Settled::In(ENGINE_PAUSE))
    }

    /// What is known of the payment at its provider; of one that nobody was asked for, whoever takes new ones. None where there is nobody.
    async fn row_of(&self, payment: &StoredPayment) -> Result<Option<ProviderPayment>, StoreError> {
        if let Some(row) = self.store.provider_payment(payment.id).await? {
            return Ok(Some(row));
        }
        let Some((name, known)) = self.providers.chosen() else { return Ok(None) };
        let asked = Asked {
            description: description(payment.id),
            return_url: known.return_url.as_ref().map(|url| url.replace("{order_id}", &payment.id.order.to_string())),
            at: payment.started_at,
        };
        let nobody = ProviderPayment {
            provider: name.clone(),
            object: None,
            asked: Some(asked),
            checkout_url: None,
            status: PaymentStatus::Open,
            looked_at: payment.started_at,
            failures: 0,
        };
        Ok(Some(nobody))
    }

    /// How it stands at the provider.
    async fn look(&self, provider: &Provider, payment: &StoredPayment, row: &mut ProviderPayment) -> Result<Asking, StoreError> {
        let Some(object) = row.object.clone() else { return Ok(Asking::Seen(Seen::Missing, None)) };
        let view = provider.fetch(&object).await;
        match view {
            Err(ProviderError::Missing) => Ok(Asking::Seen(Seen::Missing, None)),
            Ok(view) if payment.status == PaymentStatus::RefundDue && view.refunded > 0 => {
                // What is on its way back is not back.
                match provider.refunds(&object).await {
                    Ok(found) if found.iter().any(|refund| refund.state == RefundState::Pending) => Ok(Asking::Later(PROCESSING_PAUSE_MAX)),
                    Ok(_) => self.heard(payment, row, Ok(view)).await,
                    Err(error) => self.heard(payment, row, Err(error)).await,
                }
            }
            view => self.heard(payment, row, view).await,
        }
    }

    /// Writes down how it stands at the provider, or that it could not be asked.
    async fn heard(
        &self,
        payment: &StoredPayment,
        row: &mut ProviderPayment,
        view: Result<View, ProviderError>,
    ) -> Result<Asking, StoreError> {
        match view {
            Ok(view) => {
                let seen = seen(&view);
                self.note(payment.id, row, status_of(seen)).await?;
                Ok(Asking::Seen(seen, Some(view.amount)))
            }
            Err(error) => Ok(Asking::Later(self.failed(payment.id, row, &error).await?)),
        }
    }

    async fn note(&self, id: PaymentId, row: &mut ProviderPayment, status: PaymentStatus) -> Result<(), StoreError> {
        if row.status != status || row.failures != 0 {
            (row.status, row.failures, row.looked_at) = (status, 0, (self.clock)());
            self.store.note_provider_payment(id, row).await?;
        }
        Ok(())
    }

    /// Writes down that the provider could not be asked; when it is asked again.
    async fn failed(&self, id: PaymentId, row: &mut ProviderPayment, error: &ProviderError) -> Result<Duration, StoreError> {
        meters::failure(&row.provider);
        row.failures = row.failures.saturating_add(1);
        row.looked_at = (self.clock)();
        self.store.note_provider_payment(id, row).await?;
        let (first, longest) = RETRY_SECONDS;
        let pause = Duration::from_secs(first.checked_shl(row.failures - 1).unwrap_or(longest).min(longest));
        let pause = pause.mul_f64(0.75 + rand::random::<f64>() / 2.0);
        if error.is_passing() {
            tracing::warn!(%error, payment = %id, provider = %row.provider, "provider {} does not help with payment {id}", row.provider);
            Ok(pause)
        } else {
            tracing::error!(%error, payment = %id, provider = %row.provider, "provider {} will not help with payment {id}", row.provider);
            Ok(REFUSED_PAUSE)
        }
    }

    /// Makes the payment at the provider, under the key that it was or would have been made under.
    async fn create(&self, known: &Known, payment: &StoredPayment, row: &mut ProviderPayment) -> Result<Asking, StoreError> {
        let Some(asked) = row.asked.clone() else { return Ok(Asking::Later(REFUSED_PAUSE)) };
        *row = self.store.ask_provider(payment.id, &row.provider, &asked).await?;
        let new = new_payment(payment.id, amount_of(payment), payment.expires_at, row.asked.as_ref().unwrap_or(&asked));
        match create(&known.provider, new).await {
            Ok(created) => {
                row.object = Some(created.id);
                row.checkout_url = Some(created.checkout_url);
                row.status = PaymentStatus::Open;
                self.store.note_provider_payment(payment.id, row).await?;
                self.look(&known.provider, payment, row).await
            }
            // It never was, and never will be.
            Err(ProviderError::Refused { .. }) => Ok(Asking::Seen(Seen::Failed, None)),
            Err(error) => Ok(Asking::Later(self.failed(payment.id, row, &error).await?)),
        }
    }

    /// Gives back what was taken, if that is not among what went back.
    async fn refund(&self, provider: &Provider, payment: &StoredPayment, row: &mut ProviderPayment) -> Result<Asking, StoreError> {
        let object = row.object.clone().unwrap_or_default();
        let mut spent = 0;
        loop {
            let found = match provider.refunds(&object).await {
                Ok(found) => found,
                Err(error) => return Ok(Asking::Later(self.failed(payment.id, row, &error).await?)),
            };
            if found.iter().any(|refund| refund.state == RefundState::Pending) {
                return Ok(Asking::Later(PROCESSING_PAUSE_MAX));
            }
            let back: i64 = found.iter().filter(|refund| refund.state == RefundState::Done).map(|refund| refund.amount).sum();
            let view = match provider.fetch(&object).await {
                Ok(view) => view,
                Err(error) => return Ok(Asking::Later(self.failed(payment.id, row, &error).await?)),
            };
            let minor = view.captured.saturating_sub(back);
            if minor <= 0 {
                return self.heard(payment, row, Ok(View { refunded: view.captured, ..view })).await;
            }
            // A refund that failed keeps its key.
            let failed = found.iter().filter(|refund| refund.state == RefundState::Failed).count();
            let refund = NewRefund {
                key: key(payment.id, "refund", u32::try_from(failed).unwrap_or(u32::MAX).saturating_add(spent)),
                payment: object.clone(),
                reference: payment.id.to_string(),
                amount: Amount { minor, currency: view.amount.currency },
            };
            match provider.refund(&refund).await {
                Ok(Refund { state: RefundState::Done, .. }) => {
                    return self.heard(payment, row, Ok(View { refunded: view.captured, ..view })).await;
                }
                // Looked for again before it is sent under another key.
                Err(ProviderError::KeySpent) if spent < KEYS_MAX => spent += 1,
                Ok(_) => return Ok(Asking::Later(PROCESSING_PAUSE)),
                Err(error) => return Ok(Asking::Later(self.failed(payment.id, row, &error).await?)),
            }
        }
    }

    /// A payment that its provider refuses to make comes to nothing.
    pub async fn give_up(&self, id: PaymentId) {
        self.tell_ended(id, PaymentEnd::Failed).await;
    }

    async fn tell_succeeded(&self, payment: PaymentId, amount: Amount, taken: Taken) -> Settled {
        let Amount { minor, currency } = amount;
        self.tell(payment, Command::PaymentSucceeded { payment, amount: minor, currency, taken, row: None }).await
    }

    async fn tell_ended(&self, payment: PaymentId, how: PaymentEnd) -> Settled {
        self.tell(payment, Command::PaymentEnded { payment, how, row: None }).await
    }

    async fn tell(&self, id: PaymentId, command: Command) -> Settled {
        match self.router.about_order(id.order, command).await {
            Reply::Done(_) => Settled::In(TOLD_PAUSE),
            Reply::Pending(_) | Reply::Busy(_) => Settled::In(ENGINE_PAUSE),
            Reply::Refused(Refusal::UpgradeUnfinished) => Settled::In(ENGINE_PAUSE_LONG),
            Reply::Refused(Refusal::StaleRow | Refusal::EpochExhausted) => Settled::In(ENGINE_PAUSE),
            Reply::Refused(refusal) => {
                tracing::error!(payment = %id, ?refusal, "no engine takes what is known of payment {id}");
                Settled::In(REFUSED_PAUSE)
            }
        }
    }

    fn pause(&self, payment: &StoredPayment, seen: Seen) -> Duration {
        let now = (self.clock)();
        let waited = Duration::from_millis(now.millis().saturating_sub(payment.changed_at.millis()).max(0).unsigned_abs());
        let pause = match seen {
            // Sooner at first, and then less and less.
            Seen::Processing => (waited / 4).clamp(PROCESSING_PAUSE, PROCESSING_PAUSE_MAX),
            _ => OPEN_PAUSE,
        };
        let left = payment.expires_at.millis().saturating_sub(now.millis());
        // When it is over there is something to do.
        if left > 0 { pause.min(Duration::from_millis(left.unsigned_abs())) } else { pause }
    }
}

/// Makes a payment at a provider; under another key if the provider keeps a failure under the first. Nobody could pay what may have been made
/// under that: its address was never told.
pub(in crate::payments) async fn create(provider: &Provider, mut new: NewPayment) -> Result<Created, ProviderError> {
    let first = new.key.clone();
    for number in 1..=KEYS_MAX {
        match provider.create(&new).await {
            Err(ProviderError::KeySpent) => new.key = format!("{first}-{}", number + 1),
            answer => return answer,
        }
    }
    Err(ProviderError::KeySpent)
}

/// What a provider is asked for.
pub(in crate::payments) fn new_payment(id: PaymentId, amount: Amount, expires_at: Timestamp, asked: &Asked) -> NewPayment {
    NewPayment {
        key: id.to_string(),
        reference: id.to_string(),
        order: id.order.to_string(),
        amount,
        description: asked.description.clone(),
        return_url: asked.return_url.clone(),
        started_at: asked.at,
        expires_at,
    }
}

/// What a buyer reads of a payment, where nothing better is known.
#[must_use]
pub fn description(id: PaymentId) -> String {
    format!("Order {}", id.order)
}

fn key(id: PaymentId, what: &str, number: u32) -> String {
    if number == 0 { format!("{id}-{what}") } else { format!("{id}-{what}-{}", number.saturating_add(1)) }
}

fn amount_of(payment: &StoredPayment) -> Amount {
    Amount { minor: payment.amount, currency: payment.currency }
}

fn seen(view: &View) -> Seen {
    match view.state {
        State::Open => Seen::Open,
        State::Processing => Seen::Processing,
        State::Authorized => Seen::Authorized,
        State::Captured if view.captured > 0 && view.refunded >= view.captured => Seen::Refunded,
        State::Captured => Seen::Captured,
        State::Failed => Seen::Failed,
        State::Cancelled => Seen::Cancelled,
    }
}

fn status_of(seen: Seen) -> PaymentStatus {
    match seen {
        Seen::Missing | Seen::Open => PaymentStatus::Open,
        Seen::Processing => PaymentStatus::Processing,
        Seen::Authorized => PaymentStatus::Authorized,
        Seen::Captured => PaymentStatus::Captured,
        Seen::Refunded => PaymentStatus::Refunded,
        Seen::Failed => PaymentStatus::Failed,
        Seen::Cancelled => PaymentStatus::Cancelled,
    }
}

fn of_cancelling(answer: Result<Cancelling, ProviderError>) -> Result<View, ProviderError> {
    answer.map(|(Cancelling::Over(view) | Cancelling::Succeeded(view) | Cancelling::Processing(view))| view)
}

fn of_capturing(answer: Result<Capturing, ProviderError>) -> Result<View, ProviderError> {
    answer.map(|(Capturing::Captured(view) | Capturing::Impossible(view))| view)
}
