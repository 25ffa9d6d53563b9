//! The built-in accounts. Never hashes a password and never decides who may do what.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, SqlErr};

use super::entity::user::{ActiveModel, Column, Entity};
use super::{Account, Role, Store, StoreError};
use crate::domain::{Timestamp, UserId};

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

    /// Changes an account's role, if one is given; none if there is no such account.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Corrupt`].
    pub async fn change_account(&self, id: UserId, role: Option<Role>) -> Result<Option<Account>, StoreError> {
        if let Some(role) = role {
            let update = Entity::update_many().filter(Column::Id.eq(id.get())).col_expr(Column::Role, role.code().into());
            update.exec(&self.inner.connections.writer).await?;
        }
        self.account(id).await
    }

    /// Puts a new password hash in the place of the one that was read; whether that was still there. Of two changes at once one holds.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn change_password(&self, id: UserId, read: &str, new: &str) -> Result<bool, StoreError> {
        let update = Entity::update_many().filter(Column::Id.eq(id.get())).filter(Column::PasswordHash.eq(read));
        let updated = update.col_expr(Column::PasswordHash, new.into()).exec(&self.inner.connections.writer).await?;
        Ok(updated.rows_affected > 0)
    }
}

/// What makes two names the same: their lower case, by Unicode's rules, decided here and not by a collation.
fn key(username: &str) -> Vec<u8> {
    username.to_lowercase().into_bytes()
}
