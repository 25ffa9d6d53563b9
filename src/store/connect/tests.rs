//! What a connection is after its transaction failed.

use super::*;

const SETTINGS: config::Database = config::Database { url: None, connections_max: 2, loads_max: 1, acquire_timeout_ms: 5_000 };

async fn transact(connections: &Connections, insert: &str) -> Result<(), sea_orm::DbErr> {
    let transaction = connections.writer.begin(sea_orm::TransactionOptions::default()).await?;
    match transaction.execute_unprepared(insert).await {
        Ok(_) => transaction.commit().await,
        Err(error) => {
            // As the projection does, whether or not SQLite has rolled back already.
            drop(transaction.rollback().await);
            Err(error)
        }
    }
}

#[tokio::test]
async fn after_sqlite_has_rolled_back_by_itself_a_commit_is_a_commit_again() {
    let folder = std::env::temp_dir().join(format!("doorbuster-rolled-back-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).expect("the temporary folder is writable");
    let connections = sqlite::open(&folder.join("test.sqlite"), &SETTINGS, Missing::Create).await.expect("it opens");
    connections.writer.execute_unprepared("CREATE TABLE numbers (number INTEGER UNIQUE)").await.expect("it is SQL");
    transact(&connections, "INSERT INTO numbers VALUES (1)").await.expect("it is the first");
    // What a full disk comes to: the transaction is gone before anybody rolls it back.
    transact(&connections, "INSERT OR ROLLBACK INTO numbers VALUES (1)").await.expect_err("it is there already");
    transact(&connections, "INSERT INTO numbers VALUES (1)").await.expect_err("it is there already");
    transact(&connections, "INSERT INTO numbers VALUES (2)").await.expect("it is new");
    let count = Statement::from_string(DbBackend::Sqlite, "SELECT COUNT(*) FROM numbers");
    let row = connections.reader.query_one_raw(count).await.expect("it answers").expect("a count is a row");
    assert_eq!(row.try_get_by_index::<i64>(0).expect("a number"), 2, "what was committed is there for every other connection");
    connections.close().await.expect("nothing is under way");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[tokio::test]
async fn a_file_is_opened_through_a_link_and_missed_when_the_link_leads_elsewhere() {
    let folder = std::env::temp_dir().join(format!("doorbuster-linked-{}", uuid::Uuid::now_v7()));
    let (real, link) = (folder.join("real/test.sqlite"), folder.join("test.sqlite"));
    std::fs::create_dir_all(folder.join("real")).expect("the temporary folder is writable");
    let connections = sqlite::open(&real, &SETTINGS, Missing::Create).await.expect("it opens");
    connections.close().await.expect("nothing is under way");
    std::os::unix::fs::symlink(&real, &link).expect("a link can be made");

    let connections = sqlite::open(&link, &SETTINGS, Missing::Refuse).await.expect("it opens");
    connections.writer.execute_unprepared("CREATE TABLE numbers (number INTEGER)").await.expect("it is SQL");
    let file = connections.file.clone().expect("SQLite has one");
    assert_eq!(file.check(), Ok(()));
    std::fs::remove_file(&link).expect("it is there");
    assert!(file.check().is_err(), "a restart would not find it");
    drop(connections.close().await);
    std::fs::remove_dir_all(&folder).expect("nobody has it open");
}
