//! What a session of MySQL or MariaDB must be like: set by us on every connection, whatever the server's defaults, and held against
//! what the server says at the start. Never changes what is the server's and not the session's.

use sea_orm::sqlx::mysql::{MySqlConnection, MySqlDatabaseError};
use sea_orm::sqlx::{self, AssertSqlSafe, Executor, Row};

/// What nothing works without.
const NEEDED: [&str; 2] = [
    // Each statement commits by itself unless a transaction was begun, and a COMMIT begins none. Strict: what does not fit a column is
    // an error and never cut to size.
    "SET SESSION autocommit = 1, completion_type = NO_CHAIN, \
     sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'",
    // No gap locks: consumers of different partitions insert beside each other without deadlocks. What needs one snapshot for several
    // reads asks for REPEATABLE READ itself, and for READ ONLY.
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE",
];

/// What else may be other than it comes, on both.
const WISHED: [&str; 9] = [
    // Tables are checked, and new ones can roll back.
    "foreign_key_checks = 1",
    "unique_checks = 1",
    "default_storage_engine = InnoDB",
    // Statements change and find all that they name.
    "sql_safe_updates = 0",
    "sql_select_limit = 18446744073709551615",
    "sql_big_selects = 1",
    "sql_auto_is_null = 0",
    // The bounds are ours: the lock for whoever changes the schema lives as long as that takes.
    "innodb_lock_wait_timeout = 50",
    "wait_timeout = 28800",
];
const WISHED_OF_MARIADB: [&str; 5] = [
    "check_constraint_checks = 1",
    "max_statement_time = 0",
    "idle_transaction_timeout = 0",
    "idle_readonly_transaction_timeout = 0",
    "idle_write_transaction_timeout = 0",
];
const WISHED_OF_MYSQL: [&str; 1] = ["max_execution_time = 0"];

/// The longest rows are batches of the log and parts of checkpoints.
const PACKET_BYTES_MIN: u64 = 16 * 1_024 * 1_024;

/// Makes a connection's session what it must be.
pub(super) async fn prepare(connection: &mut MySqlConnection) -> sqlx::Result<()> {
    for statement in NEEDED {
        connection.execute(statement).await?;
    }
    // Each family of servers takes what is in the comment of the other for a comment.
    let [both, mariadb, mysql] = [WISHED.join(", "), WISHED_OF_MARIADB.join(", "), WISHED_OF_MYSQL.join(", ")];
    let all = format!("SET SESSION {both} /*M!100300 , {mariadb} */ /*!80000 , {mysql} */");
    match connection.execute(AssertSqlSafe(all)).await {
        Err(error) if is_beyond(&error) => {}
        other => return other.map(drop),
    }
    for setting in WISHED.iter().chain(&WISHED_OF_MARIADB).chain(&WISHED_OF_MYSQL) {
        match connection.execute(AssertSqlSafe(format!("SET SESSION {setting}"))).await {
            Err(error) if !is_beyond(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a setting is none of that server, or none that everybody may set.
fn is_beyond(error: &sqlx::Error) -> bool {
    // Unknown; for administrators; fixed; wrong for it.
    matches!(number(error), Some(1193 | 1227 | 1238 | 1231))
}

/// A server's number for what went wrong.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    let sqlx::Error::Database(error) = error else { return None };
    error.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number)
}

/// Holds a prepared session, and what is the server's own, against what is needed: what is wrong, and what to do about it.
pub(super) async fn check(connection: &mut MySqlConnection) -> sqlx::Result<Result<(), String>> {
    let sql = "SELECT CAST(@@SESSION.autocommit AS SIGNED), @@SESSION.sql_mode, CAST(@@GLOBAL.innodb_read_only AS SIGNED), \
               CAST(@@SESSION.max_allowed_packet AS UNSIGNED), CAST(@@GLOBAL.innodb_flush_log_at_trx_commit AS SIGNED)";
    let row = sqlx::query(sql).fetch_one(&mut *connection).await?;
    let (autocommit, modes): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    if autocommit != 1 || !modes.contains("STRICT_ALL_TABLES") {
        let why = "does not keep what a session sets (autocommit, sql_mode): a proxy in between must keep each session to itself";
        return Ok(Err(why.into()));
    }
    if row.try_get::<i64, _>(2)? != 0 {
        return Ok(Err("is read-only (innodb_read_only)".into()));
    }
    if let Some(refusal) = refusal_to_write(connection).await {
        return Ok(Err(format!("takes no writes: {refusal}; name the one that does in DATABASE_URL")));
    }
    if logs_statements(connection).await {
        return Ok(Err("writes its binary log by statements, which rules READ COMMITTED out: SET GLOBAL binlog_format = 'ROW'".into()));
    }
    let packet: u64 = row.try_get(3)?;
    if packet < PACKET_BYTES_MIN {
        tracing::warn!(packet, "the database server takes {packet} bytes at once: set max_allowed_packet to {PACKET_BYTES_MIN} at least");
    }
    // What is acknowledged to the log after a commit must survive the server's loss of power too.
    if row.try_get::<i64, _>(4)? != 1 {
        tracing::warn!("the database server loses the last commits with its power: set innodb_flush_log_at_trx_commit = 1");
    }
    Ok(Ok(()))
}

/// Why the server takes no writes, if it is because of what it is: a replica, or one that is put out of service. Only trying tells: some
/// users may write all the same.
async fn refusal_to_write(connection: &mut MySqlConnection) -> Option<String> {
    let error = connection.execute("UPDATE meta SET id = id WHERE 1 = 0").await.err()?;
    // By an option (read_only, super_read_only); of a read-only InnoDB; by its mode. Any other is for others to tell: there may be no
    // schema yet.
    matches!(number(&error), Some(1290 | 1792 | 1836 | 1874)).then(|| super::super::reason(&error))
}

/// Newer servers do not know the choice any more.
async fn logs_statements(connection: &mut MySqlConnection) -> bool {
    let sql = "SELECT @@GLOBAL.log_bin = 1 AND @@SESSION.binlog_format = 'STATEMENT'";
    sqlx::query_scalar::<_, i64>(sql).fetch_one(connection).await.is_ok_and(|statements| statements == 1)
}
