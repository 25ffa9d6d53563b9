//! Which node should own which partition: a consistent-hash ring with bounded load. Never a word on who owns one now:
//! that is the lock's (promise 4).
//!
//! Every node has [`VIRTUAL_NODES`] places on a ring of 64-bit positions. A partition prefers the nodes in the order in
//! which a walk clockwise from its own position meets them; a node takes at most `ceil(partitions / nodes)` partitions and
//! prefers them by a hash of the pair. The two preferences are settled by deferred acceptance (Gale and Shapley): the
//! result depends on the set of members alone, not on any order, and a member more or less upsets few other pairs.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashring::HashRing;

use super::stable_hash;
use crate::domain::{NodeId, PartitionId, Partitions};

/// Places a node has on the ring.
const VIRTUAL_NODES: u16 = 128;

/// Which of the members should own each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Sorted.
    members: Vec<NodeId>,
    /// By partition: which of the members; none if there is no member.
    chosen: Vec<Option<u16>>,
}

impl Placement {
    /// Spreads the partitions over the members. Their order and repetitions do not matter.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = NodeId>, partitions: Partitions) -> Self {
        let mut members: Vec<NodeId> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        let chosen = if members.is_empty() { vec![None; usize::from(partitions.get())] } else { settle(&members, partitions) };
        Self { members, chosen }
    }

    /// The members, sorted.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// Who should own the partition; none without members, or for a partition that does not exist.
    #[must_use]
    pub fn node_of(&self, partition: PartitionId) -> Option<&NodeId> {
        let chosen = (*self.chosen.get(usize::from(partition.get()))?)?;
        Some(&self.members[usize::from(chosen)])
    }

    /// The partitions a node should own, in order.
    pub fn partitions_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = PartitionId> + 'a {
        (0..).map_while(|index| PartitionId::new(index).ok()).take(self.chosen.len()).filter(move |p| self.node_of(*p) == Some(node))
    }
}

/// A place on the ring: what hashring hashes, and what it finds.
#[derive(Clone, Copy, Debug)]
struct Place {
    position: u64,
    member: u16,
}

/// Writes its position and nothing else: together with [`Identity`], positions are ours and not the library's.
impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.position);
    }
}

/// A hasher that gives back the one number it was fed.
#[derive(Clone, Copy, Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn write(&mut self, _: &[u8]) {
        unreachable!("places write one u64");
    }

    fn write_u64(&mut self, position: u64) {
        self.0 = position;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Ring = HashRing<Place, BuildHasherDefault<Identity>>;

fn ring_of(members: &[NodeId]) -> Ring {
    let places = (0u16..).zip(members).flat_map(|(member, id)| {
        (0..VIRTUAL_NODES).map(move |place| {
            let mut bytes = id.as_str().as_bytes().to_vec();
            bytes.push(0);
            bytes.extend_from_slice(&place.to_be_bytes());
            Place { position: stable_hash(&bytes), member }
        })
    });
    let mut ring = Ring::with_hasher(BuildHasherDefault::default());
    ring.batch_add(places.collect());
    ring
}

/// The members in the order in which a walk clockwise from the partition's position meets them.
fn preference(ring: &Ring, members: usize, partition: PartitionId) -> Vec<u16> {
    let mut position = stable_hash(&partition.get().to_be_bytes());
    let mut order = Vec::with_capacity(members);
    let mut met = vec![false; members];
    for _ in 0..ring.len() {
        let place = ring.get(&Place { position, member: 0 }).expect("the ring is not empty");
        if !std::mem::replace(&mut met[usize::from(place.member)], true) {
            order.push(place.member);
            if order.len() == members {
                break;
            }
        }
        position = place.position.wrapping_add(1);
    }
    order
}

/// How much a node wants a partition: less is more.
fn reluctance(node: &NodeId, partition: u16) -> (u64, u16) {
    let mut bytes = partition.to_be_bytes().to_vec();
    bytes.extend_from_slice(node.as_str().as_bytes());
    (stable_hash(&bytes), partition)
}

/// How many partitions each member takes: an even share, and one more for the first few in the order of their ids' hashes.
fn room(members: &[NodeId], partitions: Partitions) -> Vec<usize> {
    let (share, rest) = (usize::from(partitions.get()) / members.len(), usize::from(partitions.get()) % members.len());
    let mut ranked: Vec<usize> = (0..members.len()).collect();
    ranked.sort_unstable_by_key(|member| stable_hash(members[*member].as_str().as_bytes()));
    let mut room = vec![share; members.len()];
    ranked.into_iter().take(rest).for_each(|member| room[member] += 1);
    room
}

/// Deferred acceptance: each partition without a node asks the next one it prefers; a node that has too many sends away
/// the one it wants least. There is room for all, so everyone finds a place.
fn settle(members: &[NodeId], partitions: Partitions) -> Vec<Option<u16>> {
    let ring = ring_of(members);
    let room = room(members, partitions);
    let preferences: Vec<Vec<u16>> = partitions.iter().map(|partition| preference(&ring, members.len(), partition)).collect();
    let mut asked = vec![0; preferences.len()];
    let mut chosen = vec![None; preferences.len()];
    let mut taken: Vec<Vec<(u64, u16)>> = vec![Vec::new(); members.len()];
    let mut without: Vec<u16> = (0..partitions.get()).collect();
    while let Some(partition) = without.pop() {
        let index = usize::from(partition);
        let member = preferences[index][asked[index]];
        asked[index] += 1;
        chosen[index] = Some(member);
        let mine = &mut taken[usize::from(member)];
        mine.push(reluctance(&members[usize::from(member)], partition));
        if mine.len() > room[usize::from(member)] {
            let least = (0..mine.len()).max_by_key(|at| mine[*at]).expect("not empty");
            let (_, sent_away) = mine.swap_remove(least);
            chosen[usize::from(sent_away)] = None;
            without.push(sent_away);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: impl IntoIterator<Item = usize>) -> Vec<NodeId> {
        numbers.into_iter().map(|n| format!("node-{n}").parse().unwrap()).collect()
    }

    fn partition(index: u16) -> PartitionId {
        PartitionId::new(index).unwrap()
    }

    fn moved(from: &Placement, to: &Placement) -> usize {
        (0..from.chosen.len() as u16).filter(|p| from.node_of(partition(*p)) != to.node_of(partition(*p))).count()
    }

    #[test]
    fn the_placement_over_three_nodes_is_pinned() {
        let placement = Placement::new(nodes(1..=3), Partitions::DEFAULT);
        let found: Vec<u16> = placement.chosen.iter().map(|chosen| chosen.unwrap() + 1).collect();
        assert_eq!(found, [3, 3, 1, 3, 2, 3, 1, 3, 2, 1, 1, 2, 2, 1, 1, 2]);
    }

    #[test]
    fn order_and_repetition_of_members_do_not_matter() {
        let sorted = Placement::new(nodes(1..=5), Partitions::DEFAULT);
        assert_eq!(sorted, Placement::new(nodes([3, 1, 5, 2, 4, 1, 3]), Partitions::DEFAULT));
        assert_eq!(sorted.members(), nodes(1..=5));
    }

    #[test]
    fn without_members_nobody_should_own_anything() {
        let placement = Placement::new([], Partitions::DEFAULT);
        assert!(placement.chosen.iter().all(Option::is_none));
        assert_eq!((placement.node_of(partition(0)), placement.node_of(partition(4095))), (None, None));
    }

    #[test]
    fn every_node_gets_an_even_share() {
        for count in [1, 7, 16, 100, 1024] {
            let partitions = Partitions::new(count).unwrap();
            for n in 1..=20 {
                let members = nodes(1..=n);
                let placement = Placement::new(members.clone(), partitions);
                let loads: Vec<usize> = members.iter().map(|node| placement.partitions_of(node).count()).collect();
                assert_eq!(loads.iter().sum::<usize>(), usize::from(count));
                let share = usize::from(count) / n..=usize::from(count).div_ceil(n);
                assert!(loads.iter().all(|load| share.contains(load)), "{count} over {n}: {loads:?}");
            }
        }
    }

    /// An even share of the larger membership is what a newcomer must get and a leaver must leave. Keeping everybody's load
    /// even moves some more; a modulo would move nearly all.
    #[test]
    fn a_member_more_or_less_moves_little_more_than_its_share() {
        const WORLDS: usize = 40;
        for count in [16, 256] {
            let partitions = Partitions::new(count).unwrap();
            for n in 1..=10 {
                let total: usize = (0..WORLDS)
                    .map(|world| {
                        let few = Placement::new(nodes(world * 100..world * 100 + n), partitions);
                        let many = Placement::new(nodes(world * 100..world * 100 + n + 1), partitions);
                        moved(&few, &many)
                    })
                    .sum();
                let (mean, share) = (total as f64 / WORLDS as f64, f64::from(count) / (n + 1) as f64);
                println!("{count} partitions, {n} <-> {} nodes: {mean:.1} move, an even share is {share:.1}", n + 1);
                assert!(mean >= share.floor() && mean <= 1.5 * share + 3.5, "{count} partitions, {n} <-> {} nodes: {mean}", n + 1);
            }
        }
    }
}
