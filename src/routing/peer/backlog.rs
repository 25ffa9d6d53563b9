//! What waits to travel to one other node, by partition. A partition has a few places in the batches that are out; what is asked of it beyond
//! them waits here until one is free. So a partition that confirms nothing, or is being claimed, holds up its own requests and nobody
//! else's. It never drops a request without a word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::domain::{PartitionId, Partitions};
use crate::partition::{Busy, Request};

/// Batches that may be out with requests of one partition: while its owner waits for one confirm, what comes next is on its way.
pub(super) const OF_PARTITION_MAX: usize = 4;

/// The places of all partitions in batches that are out.
#[derive(Debug)]
pub(super) struct Places {
    of: Vec<Arc<Semaphore>>,
    freed: Arc<Notify>,
}

/// A partition's place in one batch, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Places {
    /// All of them are free.
    pub(super) fn of(partitions: Partitions) -> Self {
        Self { of: partitions.iter().map(|_| Arc::new(Semaphore::new(OF_PARTITION_MAX))).collect(), freed: Arc::default() }
    }

    /// One of a partition's, if one is free.
    pub(super) fn take(&self, partition: PartitionId) -> Option<Place> {
        let permit = Arc::clone(self.of.get(usize::from(partition.get()))?).try_acquire_owned().ok()?;
        Some(Place { permit: Some(permit), freed: Arc::clone(&self.freed) })
    }

    /// Waits until one is free that was not, of whichever partition.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn is_free(&self, partition: PartitionId) -> bool {
        self.of.get(usize::from(partition.get())).is_some_and(|places| places.available_permits() > 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // First: whoever is woken looks for it.
        drop(self.permit.take());
        self.freed.notify_one();
    }
}

/// Requests that are not packed yet.
pub(super) struct Backlog {
    partitions: Partitions,
    /// Of each partition that waits for a place, at most.
    depth_max: usize,
    /// Those of which nobody has looked yet whether their partition has a place.
    came: VecDeque<(PartitionId, Request)>,
    /// Those of partitions that had none, in the order in which they came.
    held: BTreeMap<PartitionId, VecDeque<Request>>,
}

impl Backlog {
    pub(super) const fn new(partitions: Partitions, depth_max: usize) -> Self {
        Self { partitions, depth_max, came: VecDeque::new(), held: BTreeMap::new() }
    }

    /// Takes in what came.
    pub(super) fn extend(&mut self, requests: impl IntoIterator<Item = Request>) {
        for request in requests {
            match request.partition(self.partitions) {
                Some(partition) => self.came.push_back((partition, request)),
                // No other node's to decide: nobody would take it up.
                None => request.turn_away(Busy::Unavailable),
            }
        }
    }

    /// How many wait for nothing but being packed, as far as is known.
    pub(super) fn len(&self) -> usize {
        self.came.len()
    }

    /// Whether it is worth packing.
    pub(super) fn may_travel(&self, places: &Places) -> bool {
        !self.came.is_empty() || self.held.keys().any(|partition| places.is_free(*partition))
    }

    /// The next request whose partition is admitted, those that were held before those that came later.
    pub(super) fn next(&mut self, mut admits: impl FnMut(PartitionId) -> bool) -> Option<(PartitionId, Request)> {
        let held = self.held.keys().copied().find(|partition| admits(*partition));
        if let Some(partition) = held {
            return self.unhold(partition).map(|request| (partition, request));
        }
        while let Some((partition, request)) = self.came.pop_front() {
            if !self.held.contains_key(&partition) && admits(partition) {
                return Some((partition, request));
            }
            self.hold(partition, request);
        }
        None
    }

    /// Tells everybody that nothing was carried out.
    pub(super) fn turn_away(&mut self) {
        let held = std::mem::take(&mut self.held).into_values().flatten();
        self.came.drain(..).map(|(_, request)| request).chain(held).for_each(|request| request.turn_away(Busy::Unavailable));
    }

    fn unhold(&mut self, partition: PartitionId) -> Option<Request> {
        let held = self.held.get_mut(&partition)?;
        let request = held.pop_front();
        if held.is_empty() {
            self.held.remove(&partition);
        }
        request
    }

    fn hold(&mut self, partition: PartitionId, request: Request) {
        let (now, held) = (Instant::now(), self.held.entry(partition).or_default());
        // Nobody waits for these any more.
        while let Some(late) = held.pop_front_if(|first| first.deadline() <= now) {
            late.turn_away(Busy::Unavailable);
        }
        if held.len() < self.depth_max {
            held.push_back(request);
        } else {
            request.turn_away(Busy::Overloaded);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::CommodityId;
    use crate::engine::Command;
    use crate::partition::{Inbox, Patience, Reply};
    use crate::ring::partition_of;

    const PARTITIONS: Partitions = Partitions::DEFAULT;

    fn of(id: i64) -> PartitionId {
        partition_of(CommodityId::new(id).unwrap(), PARTITIONS)
    }

    /// The first commodity of another partition than the first one's.
    fn elsewhere() -> i64 {
        (2..).find(|id| of(*id) != of(1)).unwrap()
    }

    /// Somebody asks for each of these commodities; what they come to hear.
    async fn asked(ids: &[i64], backlog: &mut Backlog) -> Vec<tokio::task::JoinHandle<Reply>> {
        let patience = Patience { in_inbox: Duration::from_secs(2), in_task: Duration::from_secs(9) };
        let (inbox, mut requests) = Inbox::new(64, patience);
        let mut waiting = Vec::new();
        for id in ids {
            let (inbox, command) = (inbox.clone(), Command::Pause(CommodityId::new(*id).unwrap()));
            waiting.push(tokio::spawn(async move { inbox.command(command).await }));
            backlog.extend(requests.recv().await);
        }
        waiting
    }

    /// The commodities of what travels in the next batch, to which these partitions are admitted.
    fn packed(backlog: &mut Backlog, places: &Places, aboard: &mut Vec<(PartitionId, Place)>) -> Vec<i64> {
        let mut new: Vec<(PartitionId, Place)> = Vec::new();
        let mut travels = Vec::new();
        while let Some((_, request)) = backlog.next(|partition| {
            let place = if new.iter().any(|(taken, _)| *taken == partition) { None } else { places.take(partition) };
            new.extend(place.map(|place| (partition, place)));
            new.iter().any(|(taken, _)| *taken == partition)
        }) {
            let Request::Command(command, _, caller) = request else { panic!("commands were asked") };
            travels.extend(caller.take().and(command.commodity()).map(CommodityId::get));
        }
        aboard.extend(new);
        travels
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_of_a_partition_without_a_place_waits_in_its_order_and_nothing_else_does() {
        let (mut backlog, places, mut aboard) = (Backlog::new(PARTITIONS, 8), Places::of(PARTITIONS), Vec::new());
        let other = elsewhere();
        for _ in 0..OF_PARTITION_MAX {
            asked(&[1], &mut backlog).await;
            assert_eq!(packed(&mut backlog, &places, &mut aboard), [1]);
        }
        let same = (2..).filter(|id| of(*id) == of(1)).take(2).collect::<Vec<_>>();
        let waiting = asked(&[same[0], other, same[1]], &mut backlog).await;
        assert!(backlog.may_travel(&places), "nobody has looked");
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [other]);
        assert!(!backlog.may_travel(&places));
        aboard.remove(0);
        places.freed().await;
        assert!(backlog.may_travel(&places));
        let later = asked(&[1], &mut backlog).await;
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [same[0], same[1], 1]);
        drop((waiting, later));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_held_than_may_be_and_what_is_too_late_makes_room() {
        let (mut backlog, places, mut aboard) = (Backlog::new(PARTITIONS, 2), Places::of(PARTITIONS), Vec::new());
        let taken: Vec<Place> = std::iter::from_fn(|| places.take(of(1))).collect();
        let mut first = asked(&[1, 1, 1], &mut backlog).await;
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [] as [i64; 0]);
        assert_eq!(first.remove(2).await.unwrap(), Reply::Busy(Busy::Overloaded));
        for late in first {
            assert_eq!(late.await.unwrap(), Reply::Busy(Busy::Unavailable));
        }
        let second = asked(&[1, 1], &mut backlog).await;
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [] as [i64; 0]);
        drop(taken);
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [1, 1]);
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_peer_is_left_alone_nobody_waits() {
        let (mut backlog, places, mut aboard) = (Backlog::new(PARTITIONS, 8), Places::of(PARTITIONS), Vec::new());
        let _taken: Vec<Place> = std::iter::from_fn(|| places.take(of(1))).collect();
        let held = asked(&[1], &mut backlog).await;
        assert_eq!(packed(&mut backlog, &places, &mut aboard), [] as [i64; 0]);
        let came = asked(&[elsewhere()], &mut backlog).await;
        backlog.turn_away();
        for turned_away in held.into_iter().chain(came) {
            assert_eq!(turned_away.await.unwrap(), Reply::Busy(Busy::Unavailable));
        }
    }
}
