//! The built-in accounts. Never hashes a password and never decides who may do what.
//!
//! A change of a password or a role takes the next number of one sequence, whose row is locked until the change is committed: whoever
//! sees a number sees every change with a lower one.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, SqlErr,
    Value,
};

use super::entity::user::{ActiveModel, Column, Entity};
use super::pool::Transaction;
use super::{Account, Role, Store, StoreError};
use crate::domain::{Timestamp, UserId};

/// A change that ends the tokens that an account was given before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// Its number among the changes of all accounts, from 1 on.
    pub number: i64,
    /// Whose.
    pub account: UserId,
    /// What tokens carry that are given from then on, or more.
    pub generation: i64,
    /// When, on the clock of whoever made it.
    pub at: Timestamp,
}

impl Store {
    /// Makes an account; none if the name is taken.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn create_account(
        &self,
        username: &str,
        password_hash: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        let row = ActiveModel {
            username: Set(username.to_owned()),
            username_key: Set(key(username)),
            password_hash: Set(password_hash.to_owned()),
            role: Set(role.code()),
            created_at: Set(now.millis()),
            ..Default::default()
        };
        match Entity::insert(row).exec(&self.inner.connections.writer).await {
            Ok(inserted) => Ok(Some(Account {
                id: UserId::new(inserted.last_insert_id).map_err(|error| StoreError::Corrupt(format!("users.id: {error}")))?,
                username: username.to_owned(),
                password_hash: password_hash.to_owned(),
                role,
                created_at: now,
                generation: 0,
            })),
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The account with that name, without regard to case.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn account_by_name(&self, username: &str) -> Result<Option<Account>, StoreError> {
        let row = Entity::find().filter(Column::UsernameKey.eq(key(username))).one(self.reader()).await?;
        row.map(|row| row.account()).transpose()
    }

    /// The account with that id.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Entity::find_by_id(id.get()).one(self.reader()).await?.map(|row| row.account()).transpose()
    }

    /// Accounts by rising id, at most `limit`, after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn accounts(&self, after: Option<UserId>, limit: u64) -> Result<Vec<Account>, StoreError> {
        let after = after.map_or(0, UserId::get);
        let rows = Entity::find().filter(Column::Id.gt(after)).order_by_asc(Column::Id).limit(limit).all(self.reader()).await?;
        rows.into_iter().map(|row| row.account()).collect()
    }

    /// Changes an account's role, if another one is given; none if there is no such account. The change, if it was one.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn change_account(
        &self,
        id: UserId,
        role: Option<Role>,
        now: Timestamp,
    ) -> Result<Option<(Account, Option<AccountChange>)>, StoreError> {
        let change = match role {
            Some(role) => self.change("role = ?", role.code().into(), (id, "role <> ?", role.code().into()), now).await?,
            None => None,
        };
        Ok(self.account(id).await?.map(|account| (account, change)))
    }

    /// Puts a new password hash in the place of the one that was read; none if the account was changed meanwhile. Of two changes at once one
    /// holds: whoever changes a password knows the role that the account has then.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn change_password(&self, read: &Account, new: &str, now: Timestamp) -> Result<Option<AccountChange>, StoreError> {
        // The role too: processes of the release before change it and count nothing.
        let is_as_read = format!("generation = {} AND role = {} AND password_hash = ?", read.generation, read.role.code());
        self.change("password_hash = ?", new.into(), (read.id, &is_as_read, read.password_hash.as_str().into()), now).await
    }

    /// The number of the last change; 0 = there was none.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn last_account_change(&self) -> Result<i64, StoreError> {
        let row = self.reader().query_one_raw(self.statement("SELECT account_changes FROM meta WHERE id = 1", [])).await?;
        row.ok_or_else(|| StoreError::Corrupt("meta is empty".into()))?.try_get_by_index(0).map_err(StoreError::from)
    }

    /// The same, from where changes are made, whatever a proxy makes of reads: it waits for a change that is under way.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn last_account_change_where_it_is_made(&self) -> Result<i64, StoreError> {
        let transaction = self.begin_write().await?;
        let lock = if self.backend() == DbBackend::MySql { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT account_changes FROM meta WHERE id = 1{lock}");
        let row = transaction.query_one_raw(self.statement(&sql, [])).await;
        transaction.rollback().await?;
        row?.ok_or_else(|| StoreError::Corrupt("meta is empty".into()))?.try_get_by_index(0).map_err(StoreError::from)
    }

    /// Changes with higher numbers, rising, at most `limit`. Of an account's changes only the last one is there.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn account_changes_after(&self, number: i64, limit: u64) -> Result<Vec<AccountChange>, StoreError> {
        self.account_changes("> ? ORDER BY change_number", number, limit).await
    }

    /// Changes with lower numbers, falling, at most `limit`. Of an account's changes only the last one is there.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn account_changes_before(&self, number: i64, limit: u64) -> Result<Vec<AccountChange>, StoreError> {
        self.account_changes("> 0 AND change_number < ? ORDER BY change_number DESC", number, limit).await
    }

    async fn account_changes(&self, which: &str, number: i64, limit: u64) -> Result<Vec<AccountChange>, StoreError> {
        let sql = format!("SELECT change_number, id, generation, changed_at FROM users WHERE change_number {which} LIMIT {limit}");
        let rows = self.reader().query_all_raw(self.statement(&sql, [number.into()])).await?;
        rows.iter().map(account_change).collect()
    }

    /// Sets a column of an account that is as it was read, together with its next generation and the next number of the sequence.
    async fn change(
        &self,
        set: &str,
        value: Value,
        (id, is_as_read, read): (UserId, &str, Value),
        now: Timestamp,
    ) -> Result<Option<AccountChange>, StoreError> {
        let transaction = self.begin_write().await?;
        let sql = format!(
            "UPDATE users SET {set}, generation = generation + 1, changed_at = ?, \
             change_number = (SELECT account_changes FROM meta WHERE id = 1) WHERE id = ? AND {is_as_read}"
        );
        let changed = self.change_in(&transaction, &sql, [value, now.millis().into(), id.get().into(), read], id).await;
        match &changed {
            Ok(Some(_)) => transaction.commit().await?,
            Ok(None) | Err(_) => transaction.rollback().await?,
        }
        changed
    }

    async fn change_in(
        &self,
        transaction: &Transaction,
        sql: &str,
        values: [Value; 4],
        id: UserId,
    ) -> Result<Option<AccountChange>, StoreError> {
        transaction.execute_raw(self.statement("UPDATE meta SET account_changes = account_changes + 1 WHERE id = 1", [])).await?;
        // Rows that are found are counted, and what is found is changed.
        if transaction.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(None);
        }
        let sql = "SELECT change_number, id, generation, changed_at FROM users WHERE id = ?";
        let row = transaction.query_one_raw(self.statement(sql, [id.get().into()])).await?;
        row.as_ref().map(account_change).transpose()
    }
}

fn account_change(row: &QueryResult) -> Result<AccountChange, StoreError> {
    let number = |index| row.try_get_by_index::<i64>(index);
    let corrupt = |what: &str| StoreError::Corrupt(format!("a change of an account: {what}"));
    Ok(AccountChange {
        number: number(0)?,
        account: UserId::new(number(1)?).map_err(|_| corrupt("id"))?,
        generation: number(2)?,
        at: Timestamp::from_millis(number(3)?).map_err(|_| corrupt("changed_at"))?,
    })
}

/// What makes two names the same: their lower case, by Unicode's rules, decided here and not by a collation.
fn key(username: &str) -> Vec<u8> {
    username.to_lowercase().into_bytes()
}
