//! The one row of the table `meta`: what holds for a whole schema. Only read here.

use sea_orm::{ConnectionTrait, Statement};

use super::StoreError;
use crate::domain::{Partitions, SystemId};
use crate::event::LogVersion;

/// The newest form that may be in the log, if this release knows it.
pub(super) async fn read_log_version(connection: &impl ConnectionTrait) -> Result<LogVersion, StoreError> {
    let query = Statement::from_string(connection.get_database_backend(), "SELECT log_version FROM meta WHERE id = 1");
    let row = connection.query_one_raw(query).await?.ok_or_else(|| StoreError::Corrupt("meta is empty".into()))?;
    let number: i16 = row.try_get_by_index(0)?;
    let known = u8::try_from(number).ok().and_then(|number| LogVersion::new(number).ok());
    known.ok_or_else(|| {
        StoreError::Schema(format!("the log is written in version {number}, which this release does not know: use a newer one"))
    })
}

/// Which system this is; none where that was not drawn yet.
pub(super) async fn read_system(connection: &impl ConnectionTrait) -> Result<Option<SystemId>, StoreError> {
    let query = Statement::from_string(connection.get_database_backend(), "SELECT system_id FROM meta WHERE id = 1");
    let Some(row) = connection.query_one_raw(query).await? else { return Ok(None) };
    let Some(bytes) = row.try_get_by_index::<Option<Vec<u8>>>(0)? else { return Ok(None) };
    let bytes = <[u8; 16]>::try_from(bytes).map_err(|_| StoreError::Corrupt("meta.system_id".into()))?;
    Ok(Some(SystemId::from_bytes(bytes)))
}

/// How many partitions there are; none in a schema without its first rows.
pub(super) async fn read_partitions(connection: &impl ConnectionTrait) -> Result<Option<Partitions>, StoreError> {
    let query = Statement::from_string(connection.get_database_backend(), "SELECT partitions FROM meta WHERE id = 1");
    let Some(row) = connection.query_one_raw(query).await? else { return Ok(None) };
    let count: i32 = row.try_get_by_index(0)?;
    let partitions = u16::try_from(count).ok().and_then(|count| Partitions::new(count).ok());
    partitions.map(Some).ok_or_else(|| StoreError::Corrupt(format!("meta.partitions is {count}")))
}
