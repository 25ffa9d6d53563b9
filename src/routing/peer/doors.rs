//! How many may be at the door of the internal listener who have not proved yet that they are nodes. When there are too many the one that has
//! been there longest goes, of the same address first: a node needs a moment, whoever wants to use up the places needs to stay.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Those at the door, in the order in which they came.
#[derive(Debug)]
pub(super) struct Doors {
    most: usize,
    most_of_address: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    came: u64,
    all: VecDeque<Guest>,
}

#[derive(Debug)]
struct Guest {
    number: u64,
    address: IpAddr,
    sent_away: CancellationToken,
}

/// A place at the door, for as long as it is kept.
#[derive(Debug)]
pub(super) struct Place {
    doors: Arc<Doors>,
    number: u64,
    /// Cancelled when somebody else needs the place.
    pub(super) sent_away: CancellationToken,
}

impl Doors {
    /// Nobody is there yet.
    pub(super) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_address, waiting: Mutex::default() })
    }

    /// A place for whoever comes; somebody else may have to go for it.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut waiting = self.waiting();
        let of_address = waiting.all.iter().filter(|guest| guest.address == address).count();
        let leaves = if of_address >= self.most_of_address {
            waiting.all.iter().position(|guest| guest.address == address)
        } else {
            (waiting.all.len() >= self.most).then_some(0)
        };
        if let Some(guest) = leaves.and_then(|index| waiting.all.remove(index)) {
            guest.sent_away.cancel();
        }
        waiting.came += 1;
        let (number, sent_away) = (waiting.came, CancellationToken::new());
        waiting.all.push_back(Guest { number, address, sent_away: sent_away.clone() });
        Place { doors: Arc::clone(self), number, sent_away }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.doors.waiting().all.retain(|guest| guest.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_has_been_there_longest_goes_and_of_the_same_address_first() {
        let doors = Doors::new(4, 2);
        let gone = |place: &Place| place.sent_away.is_cancelled();
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| doors.enter(address(text)));
        let [c, d] = [(); 2].map(|()| doors.enter(address("192.0.2.3")));
        assert!(!gone(&a) && !gone(&b) && !gone(&c) && !gone(&d));
        let e = doors.enter(address("192.0.2.3"));
        assert!(!gone(&a) && gone(&c) && !gone(&d), "one address takes nothing from others");
        let f = doors.enter(address("192.0.2.4"));
        assert!(gone(&a) && !gone(&b) && !gone(&d) && !gone(&e) && !gone(&f));
    }

    #[test]
    fn a_place_is_free_again_when_its_guest_has_gone() {
        let doors = Doors::new(1, 1);
        drop(doors.enter(address("192.0.2.1")));
        let place = doors.enter(address("192.0.2.1"));
        assert_eq!(doors.waiting().all.len(), 1);
        drop(place);
        assert!(doors.waiting().all.is_empty());
    }
}
