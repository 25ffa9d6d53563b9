//! `doorbuster dead`: looks at the dead-letter queue, and puts batches back into the log they are missing from.
//!
//! Looking changes nothing. Putting back writes the whole log again with the batches in their places, before anything old is taken out.
//! Cut short at any point, that leaves at worst copies which the projection skips; it can be done again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::letters::{LETTERS_MAX, Letter, Letters};
use super::log::{LogError, rewrite};
use crate::broker::{Broker, Session};
use crate::domain::PartitionId;
use crate::projection::{Position, position_of};
use crate::store::Store;

/// Bytes of a body that are shown, at most.
const SHOWN_BYTES: usize = 256;

/// Prints one line for each dead letter, by name, however often it is there.
///
/// # Errors
/// [`LogError`].
pub async fn list(broker: &Broker, out: &mut impl Write) -> Result<(), LogError> {
    let session = broker.connect("doorbuster dead list").await?;
    let letters = Letters::take(&session, broker.topology()).await?;
    writeln!(out, "{:<24}  {:<24}  {:>9}  {:>6}  from, why", "name", "since", "bytes", "copies")?;
    for letter in &letters.letters {
        let Letter { name, about, .. } = letter;
        let since = about.at.map_or_else(|| "?".to_owned(), |at| at.to_string());
        let from = about.from.as_deref().unwrap_or("?");
        writeln!(out, "{name:<24}  {since:<24}  {:>9}  {:>6}  {from}: {}", about.body.len(), letter.copies(), about.why)?;
    }
    if letters.letters.iter().map(Letter::copies).sum::<usize>() >= usize::from(LETTERS_MAX) {
        writeln!(out, "(the first {LETTERS_MAX} messages; there may be more)")?;
    }
    session.shut().await;
    Ok(())
}

/// Prints all that is known of one dead letter.
///
/// # Errors
/// [`LogError`].
pub async fn show(broker: &Broker, name: &str, out: &mut impl Write) -> Result<(), LogError> {
    let session = broker.connect("doorbuster dead show").await?;
    let letters = Letters::take(&session, broker.topology()).await?;
    let Letter { about, batch, .. } = letters.find(name).ok_or_else(|| LogError::NoSuchLetter(name.to_owned()))?;
    writeln!(out, "from    {}", about.from.as_deref().unwrap_or("?"))?;
    writeln!(out, "why     {}", about.why)?;
    writeln!(out, "since   {}", about.at.map_or_else(|| "?".to_owned(), |at| at.to_string()))?;
    writeln!(out, "called  {}", about.message_id.as_deref().unwrap_or("?"))?;
    match batch {
        Ok(batch) => writeln!(out, "{batch:#?}")?,
        Err(error) => {
            let shown = &about.body[..about.body.len().min(SHOWN_BYTES)];
            writeln!(out, "{error}; {} bytes, the first {}:\n{}", about.body.len(), shown.len(), shown.escape_ascii())?;
        }
    }
    session.shut().await;
    Ok(())
}

/// Puts dead letters back to their places in the logs of their partitions; says what became of each log.
///
/// # Errors
/// [`LogError::Refused`] when this release cannot read one of them, when the tables are past it, while a node owns the partition, and
/// while a consumer is busy with its log. Of what is refused nothing is changed; partitions before it may be done.
pub async fn put_back(broker: &Broker, store: &Store, names: &[String]) -> Result<Vec<String>, LogError> {
    let session = broker.connect("doorbuster dead put-back").await?;
    let outcome = put_back_over(&session, broker, store, names).await;
    // Whatever is held goes back: letters, messages of the log, the lock.
    session.shut().await;
    outcome
}

async fn put_back_over(session: &Session, broker: &Broker, store: &Store, names: &[String]) -> Result<Vec<String>, LogError> {
    let letters = Letters::take(session, broker.topology()).await?;
    let mut wanted: BTreeMap<PartitionId, Vec<&Letter>> = BTreeMap::new();
    for name in names.iter().collect::<BTreeSet<_>>() {
        let letter = letters.find(name).ok_or_else(|| LogError::NoSuchLetter(name.clone()))?;
        wanted.entry(may_go_back(store, letter).await?).or_default().push(letter);
    }
    let mut done = Vec::new();
    for (partition, wanted) in wanted {
        let again: Vec<_> = wanted.iter().map(|letter| &letter.delivery).collect();
        let rewritten = rewrite(session, broker.topology(), store, partition, &again).await?;
        for letter in &wanted {
            letters.remove(session, letter).await?;
        }
        let names: Vec<&str> = wanted.iter().map(|letter| letter.name.as_str()).collect();
        done.push(format!("back in the log of partition {partition}: {}; {rewritten}", names.join(", ")));
    }
    letters.close(session).await;
    Ok(done)
}

/// The partition of a letter that can be put back.
async fn may_go_back(store: &Store, letter: &Letter) -> Result<PartitionId, LogError> {
    let batch = letter.batch.as_ref().map_err(|error| LogError::Refused(format!("{}: {error}", letter.name)))?;
    let partition = batch.partition;
    if !store.partitions().iter().any(|known| known == partition) {
        return Err(LogError::Refused(format!("there is no partition {partition}")));
    }
    if let Some(theirs) = batch.system.filter(|theirs| *theirs != store.system()) {
        return Err(LogError::Refused(format!("{} belongs to system {theirs}, and this is system {}", letter.name, store.system())));
    }
    let (epoch, sequence) = store.applied(partition).await?;
    let applied = Position { epoch, sequence };
    if position_of(batch) <= applied {
        return Err(LogError::Refused(format!("the tables are at batch {applied} of partition {partition} already, it would be skipped")));
    }
    Ok(partition)
}
