//! What providers say of payments, who is looking after which, and what was heard. Rows of whoever asks providers: the log knows none of it.
//! Never changes how a payment stands for its engine.

use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Value};
use serde::{Deserialize, Serialize};

use super::payments::{COLUMNS, attempt_value, read};
use super::{Store, StoreError, StoredPayment};
use crate::domain::{OrderId, PaymentId, PaymentStatus, Timestamp};
use crate::payments::ProviderName;
use crate::payments::webhook::Notice;

/// How long what was heard is remembered, in milliseconds: longer than any provider repeats it or lists it.
const EVENTS_KEPT_MS: u64 = 35 * 24 * 60 * 60 * 1_000;
/// Rows that go in one transaction, at most.
const DROPPED_MAX: u64 = 1_000;

const PROVIDER_COLUMNS: &str = "provider, object_id, checkout_url, status, looked_at, failures, asked";

/// What a provider is asked for a payment beyond its amount: written down before it is asked, so that it is the same however often that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What the buyer reads.
    pub description: String,
    /// Where the buyer goes afterwards.
    pub return_url: Option<String>,
    /// When it was first asked.
    pub at: Timestamp,
}

/// A payment as its provider has it, when it was last looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPayment {
    /// Which provider.
    pub provider: ProviderName,
    /// What the provider calls it; none before it has said so.
    pub object: Option<String>,
    /// What it was asked for.
    pub asked: Option<Asked>,
    /// Where the buyer pays.
    pub checkout_url: Option<String>,
    /// How it stands there.
    pub status: PaymentStatus,
    /// When it was looked at.
    pub looked_at: Timestamp,
    /// How often in a row it could not be asked.
    pub failures: u32,
}

/// Both sides of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullPayment {
    /// As the engine has it.
    pub stored: StoredPayment,
    /// As the provider has it; none before the provider has answered.
    pub provider: Option<ProviderPayment>,
}

impl FullPayment {
    /// How it stands, as far as anybody knows: an engine does not know that the provider is at it, nor that what was set aside is taken.
    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        match (self.stored.status, self.provider.as_ref().map(|provider| provider.status)) {
            (PaymentStatus::Open, Some(PaymentStatus::Processing)) => PaymentStatus::Processing,
            (PaymentStatus::Authorized, Some(PaymentStatus::Captured)) => PaymentStatus::Captured,
            (status, _) => status,
        }
    }
}

/// What became of something that a provider told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is news, and its payment will be looked after.
    News,
    /// It was heard before.
    Before,
}

impl Store {
    /// Payments that somebody has to look after by now, those that wait the longest first.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn due_payments(&self, now: Timestamp, at_most: u32) -> Result<Vec<StoredPayment>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE due_at <= ? ORDER BY due_at LIMIT ?");
        let rows = self.reader().query_all_raw(self.statement(&sql, [now.millis().into(), i64::from(at_most).into()])).await?;
        rows.iter().map(read).collect()
    }

    /// Has a payment that is due looked after by whoever asks, until then; whether nobody else was faster.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_payment(&self, id: PaymentId, due_at: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.move_due(id, due_at, Some(until)).await
    }

    /// Says when somebody is to look after a payment next, unless something has happened to it since it was taken until then.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn leave_payment(&self, id: PaymentId, taken_until: Timestamp, next: Option<Timestamp>) -> Result<(), StoreError> {
        self.move_due(id, taken_until, next).await.map(drop)
    }

    async fn move_due(&self, id: PaymentId, from: Timestamp, to: Option<Timestamp>) -> Result<bool, StoreError> {
        let sql = "UPDATE payments SET due_at = ? WHERE order_id = ? AND attempt = ? AND due_at = ?";
        let to = to.map(Timestamp::millis);
        let values = [to.into(), id.order.uuid().into(), attempt_value(id.attempt), from.millis().into()];
        Ok(self.inner.connections.writer.execute_raw(self.statement(sql, values)).await?.rows_affected() == 1)
    }

    /// Has somebody look after a payment soon.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn wake_payment(&self, id: PaymentId, now: Timestamp) -> Result<(), StoreError> {
        let (sql, values) = waking(id, now);
        self.inner.connections.writer.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// One payment, with what its provider says.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn full_payment(&self, id: PaymentId) -> Result<Option<FullPayment>, StoreError> {
        Ok(self.full_payments(id.order).await?.into_iter().find(|payment| payment.stored.id == id))
    }

    /// The payments of an order, in the order they were started, with what their providers say.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn full_payments(&self, order: OrderId) -> Result<Vec<FullPayment>, StoreError> {
        let sql = format!("{} WHERE p.order_id = ? ORDER BY p.attempt", full());
        let rows = self.reader().query_all_raw(self.statement(&sql, [order.uuid().into()])).await?;
        rows.iter().map(read_full).collect()
    }

    /// Payments, the newest orders' first, older than one of them.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn list_payments(
        &self,
        status: Option<PaymentStatus>,
        before: Option<PaymentId>,
        limit: u64,
    ) -> Result<Vec<FullPayment>, StoreError> {
        let code = |status: PaymentStatus| Value::from(i16::from(status.code()));
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        if let Some(status) = status {
            let (of_engine, of_provider) = match status {
                // What only providers know: see `FullPayment::status`.
                PaymentStatus::Processing => (vec![PaymentStatus::Open, PaymentStatus::Processing], Some(("=", PaymentStatus::Processing))),
                PaymentStatus::Captured => (vec![PaymentStatus::Authorized, PaymentStatus::Captured], Some(("=", PaymentStatus::Captured))),
                PaymentStatus::Open => (vec![PaymentStatus::Open], Some(("<>", PaymentStatus::Processing))),
                PaymentStatus::Authorized => (vec![PaymentStatus::Authorized], Some(("<>", PaymentStatus::Captured))),
                PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::RefundDue | PaymentStatus::Refunded => {
                    (vec![status], None)
                }
            };
            conditions.push(format!("p.status IN ({})", super::statements::places(of_engine.len())));
            values.extend(of_engine.into_iter().map(code));
            if let Some((compared, with)) = of_provider {
                let unknown = if compared == "=" { "p.status = ?" } else { "q.status IS NULL" };
                conditions.push(format!("(q.status {compared} ? OR {unknown})"));
                values.push(code(with));
                if compared == "=" {
                    values.push(code(with));
                }
            }
        }
        if let Some(id) = before {
            conditions.push("(p.order_id < ? OR (p.order_id = ? AND p.attempt < ?))".to_owned());
            values.extend([id.order.uuid().into(), id.order.uuid().into(), attempt_value(id.attempt)]);
        }
        let conditions = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let sql = format!("{} {conditions} ORDER BY p.order_id DESC, p.attempt DESC LIMIT ?", full());
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let rows = self.reader().query_all_raw(self.statement(&sql, values)).await?;
        rows.iter().map(read_full).collect()
    }

    /// What the provider says of a payment, if it has answered.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn provider_payment(&self, id: PaymentId) -> Result<Option<ProviderPayment>, StoreError> {
        let sql = format!("SELECT {PROVIDER_COLUMNS} FROM provider_payments WHERE order_id = ? AND attempt = ?");
        let row = self.reader().query_one_raw(self.statement(&sql, [id.order.uuid().into(), attempt_value(id.attempt)])).await?;
        row.map(|row| read_provider(&row, 0)).transpose()
    }

    /// Which payment a provider means by a name of its own.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn payment_of_object(&self, provider: &ProviderName, object: &str) -> Result<Option<PaymentId>, StoreError> {
        let sql = "SELECT order_id, attempt FROM provider_payments WHERE provider = ? AND object_id = ? LIMIT 1";
        let row = self.reader().query_one_raw(self.statement(sql, [provider.as_str().into(), object.into()])).await?;
        row.map(|row| super::payments::id_of(&row)).transpose()
    }

    /// Writes down which provider is about to be asked for a payment, and what for, unless that is written down: then that is what counts.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn ask_provider(&self, id: PaymentId, provider: &ProviderName, asked: &Asked) -> Result<ProviderPayment, StoreError> {
        let ignore = if self.backend() == DbBackend::MySql { "INSERT IGNORE" } else { "INSERT OR IGNORE" };
        let sql = format!(
            "{ignore} INTO provider_payments (order_id, attempt, provider, object_id, checkout_url, status, looked_at, failures, asked) \
             VALUES (?, ?, ?, '', NULL, ?, ?, 0, ?)"
        );
        let text = serde_json::to_string(asked).expect("texts and a time can be written");
        let values = [
            id.order.uuid().into(),
            attempt_value(id.attempt),
            provider.as_str().into(),
            i16::from(PaymentStatus::Open.code()).into(),
            asked.at.millis().into(),
            text.into(),
        ];
        let writer = &self.inner.connections.writer;
        writer.execute_raw(self.statement(&sql, values)).await?;
        let sql = format!("SELECT {PROVIDER_COLUMNS} FROM provider_payments WHERE order_id = ? AND attempt = ?");
        let row = writer.query_one_raw(self.statement(&sql, [id.order.uuid().into(), attempt_value(id.attempt)])).await?;
        read_provider(&row.ok_or_else(|| StoreError::Corrupt(format!("payment {id} has no row")))?, 0)
    }

    /// Writes down what the provider says of a payment; the last word counts. Its name there, and the page where the buyer pays, are kept once they are known.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_provider_payment(&self, id: PaymentId, seen: &ProviderPayment) -> Result<(), StoreError> {
        let row = "INSERT INTO provider_payments (order_id, attempt, provider, object_id, checkout_url, status, looked_at, failures) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let sql = match self.backend() {
            DbBackend::MySql => format!(
                "{row} ON DUPLICATE KEY UPDATE provider = VALUES(provider), object_id = COALESCE(NULLIF(VALUES(object_id), ''), object_id), \
                 checkout_url = COALESCE(VALUES(checkout_url), checkout_url), status = VALUES(status), looked_at = VALUES(looked_at), \
                 failures = VALUES(failures)"
            ),
            _ => format!(
                "{row} ON CONFLICT (order_id, attempt) DO UPDATE SET provider = excluded.provider, object_id = COALESCE(NULLIF(excluded.object_id, ''), object_id), \
                 checkout_url = COALESCE(excluded.checkout_url, checkout_url), status = excluded.status, looked_at = excluded.looked_at, \
                 failures = excluded.failures"
            ),
        };
        let values = [
            id.order.uuid().into(),
            attempt_value(id.attempt),
            seen.provider.as_str().into(),
            seen.object.clone().unwrap_or_default().into(),
            seen.checkout_url.clone().into(),
            i16::from(seen.status.code()).into(),
            seen.looked_at.millis().into(),
            i32::try_from(seen.failures).unwrap_or(i32::MAX).into(),
        ];
        self.inner.connections.writer.execute_raw(self.statement(&sql, values)).await?;
        Ok(())
    }

    /// Writes down what a provider told, once, and has the payment looked after that it is about, in one step.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn hear(
        &self,
        provider: &ProviderName,
        notice: &Notice,
        payment: Option<PaymentId>,
        now: Timestamp,
    ) -> Result<Heard, StoreError> {
        let ignore = if self.backend() == DbBackend::MySql { "INSERT IGNORE" } else { "INSERT OR IGNORE" };
        let sql = format!(
            "{ignore} INTO provider_events (provider, event_id, kind, object_id, reference, received_at) VALUES (?, ?, ?, ?, ?, ?)"
        );
        let values = [
            provider.as_str().into(),
            notice.event.clone().into(),
            notice.kind.clone().into(),
            notice.object.clone().into(),
            notice.reference.clone().into(),
            now.millis().into(),
        ];
        let transaction = self.begin_write().await?;
        if transaction.execute_raw(self.statement(&sql, values)).await?.rows_affected() == 0 {
            transaction.rollback().await?;
            return Ok(Heard::Before);
        }
        if let Some(id) = payment {
            let (sql, values) = waking(id, now);
            transaction.execute_raw(self.statement(sql, values)).await?;
        }
        transaction.commit().await?;
        Ok(Heard::News)
    }

    /// Up to which event a provider's list was read, if whoever asks is to read on, until then; none if somebody else is at it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn take_provider_position(
        &self,
        provider: &ProviderName,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Option<String>>, StoreError> {
        let writer = &self.inner.connections.writer;
        let ignore = if self.backend() == DbBackend::MySql { "INSERT IGNORE" } else { "INSERT OR IGNORE" };
        let sql = "UPDATE provider_positions SET taken_until = ? WHERE provider = ? AND taken_until <= ?";
        let take = || self.statement(sql, [until.millis().into(), provider.as_str().into(), now.millis().into()]);
        if writer.execute_raw(take()).await?.rows_affected() == 0 {
            let sql = format!("{ignore} INTO provider_positions (provider, event_id, taken_until) VALUES (?, NULL, ?)");
            if writer.execute_raw(self.statement(&sql, [provider.as_str().into(), until.millis().into()])).await?.rows_affected() == 0 {
                return Ok(None);
            }
        }
        let sql = "SELECT event_id FROM provider_positions WHERE provider = ?";
        let row = writer.query_one_raw(self.statement(sql, [provider.as_str().into()])).await?;
        row.map(|row| row.try_get_by_index(0)).transpose().map_err(StoreError::from)
    }

    /// A provider's list was read up to that event, and is read on then.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn leave_provider_position(&self, provider: &ProviderName, event: Option<&str>, next: Timestamp) -> Result<(), StoreError> {
        let sql = "UPDATE provider_positions SET event_id = ?, taken_until = ? WHERE provider = ?";
        let values = [event.map(str::to_owned).into(), next.millis().into(), provider.as_str().into()];
        self.inner.connections.writer.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// Drops what was heard so long ago that nobody repeats it, at most so much as goes in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn drop_old_provider_events(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.minus_millis(EVENTS_KEPT_MS).millis();
        let sql = "SELECT received_at FROM provider_events WHERE received_at < ? ORDER BY received_at LIMIT ?";
        let old = self.reader().query_all_raw(self.statement(sql, [before.into(), DROPPED_MAX.into()])).await?;
        let Some(last) = old.last() else { return Ok(()) };
        let last: i64 = last.try_get_by_index(0)?;
        let sql = "DELETE FROM provider_events WHERE received_at <= ?";
        self.inner.connections.writer.execute_raw(self.statement(sql, [last.into()])).await?;
        Ok(())
    }
}

/// Whatever the payment's status: a provider may say something of one that was over.
fn waking(id: PaymentId, now: Timestamp) -> (&'static str, [Value; 4]) {
    let sql = "UPDATE payments SET due_at = ? WHERE order_id = ? AND attempt = ? AND (due_at IS NULL OR due_at > ?)";
    (sql, [now.millis().into(), id.order.uuid().into(), attempt_value(id.attempt), now.millis().into()])
}

fn full() -> String {
    let columns: Vec<String> = COLUMNS.split(", ").map(|column| format!("p.{column}")).collect();
    let provider: Vec<String> = PROVIDER_COLUMNS.split(", ").map(|column| format!("q.{column}")).collect();
    format!(
        "SELECT {}, {} FROM payments p LEFT JOIN provider_payments q ON q.order_id = p.order_id AND q.attempt = p.attempt",
        columns.join(", "),
        provider.join(", ")
    )
}

fn read_full(row: &QueryResult) -> Result<FullPayment, StoreError> {
    let stored = read(row)?;
    let first = COLUMNS.split(", ").count();
    let has_provider = row.try_get_by_index::<Option<String>>(first)?.is_some();
    let provider = if has_provider { Some(read_provider(row, first)?) } else { None };
    Ok(FullPayment { stored, provider })
}

fn read_provider(row: &QueryResult, first: usize) -> Result<ProviderPayment, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a row of provider_payments: {what}"));
    let (name, status): (String, i16) = (row.try_get_by_index(first)?, row.try_get_by_index(first + 3)?);
    let (failures, asked): (i32, Option<String>) = (row.try_get_by_index(first + 5)?, row.try_get_by_index(first + 6)?);
    Ok(ProviderPayment {
        provider: name.parse().map_err(|_| corrupt("provider"))?,
        object: Some(row.try_get_by_index::<String>(first + 1)?).filter(|object| !object.is_empty()),
        asked: asked.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| corrupt("asked"))?,
        checkout_url: row.try_get_by_index(first + 2)?,
        status: u8::try_from(status).ok().and_then(PaymentStatus::from_code).ok_or_else(|| corrupt("status"))?,
        looked_at: Timestamp::from_millis(row.try_get_by_index(first + 4)?).map_err(|_| corrupt("looked_at"))?,
        failures: u32::try_from(failures).unwrap_or_default(),
    })
}
