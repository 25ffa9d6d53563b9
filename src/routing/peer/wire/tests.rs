//! The peer link's bytes against golden files: what a release says, its neighbours in time understand. Garbage is an error, never a
//! panic.

use proptest::prelude::*;

use super::*;
use crate::domain::{Commodity, Foreign};
use crate::engine::{Answer, Refusal};

const VERSIONS: [PeerVersion; 5] = [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5, PeerVersion::V6, PeerVersion::V7];

fn golden(version: PeerVersion) -> &'static str {
    match version {
        PeerVersion::V3 => include_str!("golden/v3.txt"),
        PeerVersion::V4 => include_str!("golden/v4.txt"),
        PeerVersion::V5 => include_str!("golden/v5.txt"),
        PeerVersion::V6 => include_str!("golden/v6.txt"),
        PeerVersion::V7 => include_str!("golden/v7.txt"),
    }
}

/// Everything that is said in a version, by name.
fn said(version: PeerVersion) -> Vec<(String, Vec<u8>)> {
    let named = |name: String, bytes| (name, bytes);
    let items = samples::items(version).into_iter().map(|(name, item)| named(name, written(&item, version)));
    let answers = samples::answers(version).into_iter().map(|(name, answers)| named(name, write_answers(&answers, version, Vec::new())));
    let bulletins: Vec<(String, Vec<u8>)> = match version {
        PeerVersion::V3 | PeerVersion::V4 => {
            samples::together().into_iter().map(|(name, bulletin)| named(name, bulletin.write(version, Vec::new()))).collect()
        }
        PeerVersion::V5 | PeerVersion::V6 | PeerVersion::V7 => {
            samples::bulletins(version).into_iter().map(|(name, bulletin)| named(name, bulletin.write(version, Vec::new()))).collect()
        }
    };
    let introduction = [("introduction".to_owned(), samples::INTRODUCTION.write(version))];
    items.chain(answers).chain(bulletins).chain(introduction).collect()
}

fn written(item: &Item, version: PeerVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.write(version, &mut bytes).unwrap();
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn everything_that_is_said_is_these_bytes() {
    for version in VERSIONS {
        let said: Vec<String> = said(version).iter().map(|(name, bytes)| format!("{name}: {}", hex(bytes))).collect();
        for (said, golden) in said.iter().zip(golden(version).lines()) {
            assert_eq!(said, golden, "version {version}");
        }
        assert_eq!(said.len(), golden(version).lines().count(), "version {version}");
    }
}

#[test]
fn everything_that_is_said_is_understood() {
    for version in VERSIONS {
        for (name, item) in samples::items(version) {
            let bytes = written(&item, version);
            let mut rest = &bytes[..];
            assert_eq!((Item::read(version, &mut rest), rest), (Ok(item), &[][..]), "{name}");
        }
        for (name, answers) in samples::answers(version) {
            assert_eq!(read_answers(version, &write_answers(&answers, version, Vec::new())), Ok(answers), "{name}");
        }
        for (name, bulletin) in samples::together() {
            assert_eq!(Together::read(version, &bulletin.write(version, Vec::new())), Ok(bulletin), "{name}");
        }
        let introduction = samples::INTRODUCTION;
        assert_eq!(Introduction::read(version, &introduction.write(version)), Ok(introduction));
    }
    for version in [PeerVersion::V5, PeerVersion::V6, PeerVersion::V7] {
        for (name, bulletin) in samples::bulletins(version) {
            assert_eq!(Bulletin::read(version, &bulletin.write(version, Vec::new())), Ok(bulletin), "{name}");
        }
    }
}

#[test]
fn what_version_3_has_no_words_for_is_not_said_in_it() {
    let older: Vec<String> = samples::items(PeerVersion::V3).into_iter().map(|(name, _)| name).collect();
    for (name, item) in samples::items(PeerVersion::V4) {
        let mut bytes = vec![1, 2, 3];
        let sayable = older.contains(&name);
        assert_eq!(item.write(PeerVersion::V3, &mut bytes).is_ok(), sayable, "{name}");
        assert_eq!(bytes.len() == 3, !sayable, "{name}: nothing of it is written");
    }
    let pause = Command::Pause(crate::domain::CommodityId::new(600).unwrap());
    let expecting = Command::Expecting { version: 1, command: Box::new(pause) };
    for command in [Command::Expire { at_most: 1 }, Command::CloseEnded { before: crate::domain::Timestamp::ZERO, at_most: 1 }, expecting] {
        let item = Item { budget_ms: 1, ask: Ask::Command(command), trace: None };
        assert_eq!(item.write(PeerVersion::V4, &mut Vec::new()), Err(Unsayable));
    }
}

#[test]
fn a_node_of_version_3_hears_what_it_can_understand() {
    let heard = |told: Told| {
        let answers = read_answers(PeerVersion::V3, &write_answers(&vec![(0, told)], PeerVersion::V3, Vec::new())).unwrap();
        answers.into_iter().next().unwrap().1
    };
    let refused = |refusal| heard(Told::Reply(Reply::Refused(refusal)));
    assert_eq!(refused(Refusal::Closed), Told::Reply(Reply::Refused(Refusal::Ended)));
    for refusal in [Refusal::NotEnded, Refusal::HasOpenOrders, Refusal::StaleRow, Refusal::UpgradeUnfinished] {
        assert_eq!(refused(refusal), Told::Reply(Reply::Busy(Busy::Unavailable)));
    }
    for (name, answers) in samples::answers(PeerVersion::V4) {
        for (_, told) in answers {
            match (heard(told.clone()), told) {
                (heard, told @ Told::Reply(Reply::Done(Answer::PlacedBefore(order)))) => {
                    assert_eq!(heard, Told::Reply(Reply::Pending(Some(order))), "{told:?}");
                }
                (Told::Reply(Reply::Done(Answer::Commodity(heard))), Told::Reply(Reply::Done(Answer::Commodity(told)))) => {
                    assert_eq!(*heard, Commodity { closed_at: None, ..*told });
                }
                (heard, Told::Sighting(Ok(Sighting::Unknown { epoch, next_number, .. }))) => {
                    assert_eq!(heard, Told::Sighting(Ok(Sighting::Unknown { epoch, next_number, in_tables: false })));
                }
                (heard, Told::Orders(_)) => assert_eq!(heard, Told::Misdirected),
                (_, Told::Reply(Reply::Refused(_))) => {}
                (heard, told) => assert_eq!(heard, told, "{name}"),
            }
        }
    }
}

impl Ask {
    fn is_cancellation(&self) -> bool {
        matches!(self, Self::Command(Command::Keyed { command, .. }) if matches!(**command, Command::Cancel { .. }))
    }
}

/// Whoever claims units at a price they saw, or asks under a key, is not served at all where that is not known.
#[test]
fn what_versions_before_6_have_no_words_for_is_not_said_in_them() {
    let lamp = crate::domain::CommodityId::new(600).unwrap();
    let asked = samples::items(PeerVersion::V6).into_iter().filter_map(|(_, item)| match &item.ask {
        Ask::Command(Command::Keyed { .. }) => Some(item),
        Ask::Command(Command::Place(place)) if place.unit_price.is_some() => Some(item),
        _ => None,
    });
    let asked: Vec<Item> = asked.collect();
    assert_eq!(asked.len(), 4);
    for version in [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5] {
        for item in &asked {
            assert_eq!(item.write(version, &mut Vec::new()), Err(Unsayable), "{item:?}");
            let (mut older, is_cancellation) = (Vec::new(), item.ask.is_cancellation());
            // Its row has no words in version 3.
            let is_written = is_cancellation && version > PeerVersion::V3;
            assert_eq!((item.write_older(version, &mut older), older.is_empty()), (is_written, !is_written), "{item:?}");
        }
        for reply in [Reply::Refused(Refusal::PriceChanged), Reply::Refused(Refusal::TooManyKeys)] {
            let heard = read_answers(version, &write_answers(&vec![(0, Told::Reply(reply))], version, Vec::new())).unwrap();
            assert_eq!(heard, [(0, Told::Reply(Reply::Busy(Busy::Unavailable)))]);
        }
        let done = Told::Reply(Reply::Done(Answer::DoneBefore(lamp, None)));
        let heard = read_answers(version, &write_answers(&vec![(0, done)], version, Vec::new())).unwrap();
        assert_eq!(heard, [(0, Told::Reply(Reply::Pending(None)))]);
    }
}

/// What a newer node asks or tells of another issuer's order has no words there, or none but "ask again".
#[test]
fn nodes_of_older_versions_are_told_nothing_of_other_issuers_orders() {
    let known: Vec<String> = samples::items(PeerVersion::V5).into_iter().map(|(name, _)| name).collect();
    let of_foreign = samples::items(PeerVersion::V6).into_iter().filter(|(name, _)| !known.contains(name));
    let theirs: Foreign = "auth0:auth0|5f7c8e".parse().unwrap();
    let place = Command::Place(crate::engine::Place {
        commodity: crate::domain::CommodityId::new(1).unwrap(),
        user: theirs.clone().into(),
        quantity: crate::domain::Quantity::ONE,
        key: None,
        fingerprint: crate::domain::RequestFingerprint(1),
        unit_price: None,
    });
    let asked =
        of_foreign.map(|(_, item)| item.ask).chain([Ask::Command(place), Ask::OrdersOf(PartitionId::new(1).unwrap(), theirs.key())]);
    for ask in asked {
        let item = Item { budget_ms: 1, ask, trace: None };
        for version in [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5] {
            assert_eq!(item.write(version, &mut Vec::new()), Err(Unsayable), "{item:?} in version {version}");
        }
    }
    for version in [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5] {
        let heard = |told: Told| {
            let answers = read_answers(version, &write_answers(&vec![(0, told)], version, Vec::new())).unwrap();
            answers.into_iter().next().unwrap().1
        };
        for (name, answers) in samples::answers(PeerVersion::V6).into_iter().filter(|(name, _)| name.contains("foreign")) {
            for (_, told) in answers {
                match (heard(told.clone()), told) {
                    (heard, Told::Reply(Reply::Done(Answer::Placed(order)))) => {
                        assert_eq!(heard, Told::Reply(Reply::Pending(Some(order.id))), "{name}");
                    }
                    (heard, Told::Sighting(_)) => assert_eq!(heard, Told::Sighting(Err(Busy::Unavailable)), "{name}"),
                    (heard, Told::Orders(_)) if version == PeerVersion::V3 => assert_eq!(heard, Told::Misdirected, "{name}"),
                    (heard, Told::Orders(_)) => assert_eq!(heard, Told::Orders(Ok(Vec::new())), "{name}"),
                    (_, told) => panic!("{name}: {told:?}"),
                }
            }
        }
    }
}

/// A commodity with an article number would come to be one without.
#[test]
fn what_older_versions_would_leave_out_of_a_commodity_is_not_said_in_them() {
    let numbered = samples::items(PeerVersion::V6).into_iter().filter(|(_, item)| match &item.ask {
        Ask::Command(Command::List { terms, .. }) => terms.sku.is_some(),
        Ask::Command(Command::Change { change, .. }) => change.sku.is_some() || change.cancellation.is_some(),
        Ask::Command(Command::ListOnce { .. }) => true,
        _ => false,
    });
    let mut count = 0;
    for (name, item) in numbered {
        for version in [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5] {
            assert_eq!(item.write(version, &mut Vec::new()), Err(Unsayable), "{name} in version {version}");
        }
        count += 1;
    }
    assert_eq!(count, 4);
}

/// What came with payments has no words there: an order would be given back without a word of why, or a grace be left out.
#[test]
fn what_versions_before_7_have_no_words_for_is_not_said_in_them() {
    let known: Vec<String> = samples::items(PeerVersion::V6).into_iter().map(|(_, item)| format!("{item:?}")).collect();
    let newer: Vec<Item> =
        samples::items(PeerVersion::V7).into_iter().map(|(_, item)| item).filter(|item| !known.contains(&format!("{item:?}"))).collect();
    assert_eq!(newer.len(), 12);
    for item in newer {
        // Why an order is cancelled is left out: it is cancelled all the same.
        let is_cancellation = matches!(item.ask, Ask::Command(Command::Cancel { .. }));
        for version in [PeerVersion::V3, PeerVersion::V4, PeerVersion::V5, PeerVersion::V6] {
            assert_eq!(item.write(version, &mut Vec::new()).is_ok(), is_cancellation, "{item:?} in version {version}");
        }
    }
}

/// A name that is another principal's than the order's would be shown to operators.
#[test]
fn an_order_with_somebody_elses_name_is_garbage() {
    let theirs: Foreign = "a:42".parse().unwrap();
    for (name, answers) in samples::answers(PeerVersion::V6) {
        for (index, told) in answers {
            let Told::Sighting(Ok(Sighting::Known(mut named))) = told else { continue };
            named.foreign = Some(theirs.clone());
            let answers = vec![(index, Told::Sighting(Ok(Sighting::Known(named))))];
            assert_eq!(read_answers(PeerVersion::V6, &write_answers(&answers, PeerVersion::V6, Vec::new())), Err(Garbage), "{name}");
        }
    }
}

#[test]
fn what_is_cut_short_or_too_long_is_garbage() {
    for version in VERSIONS {
        for (name, answers) in samples::answers(version) {
            let bytes = write_answers(&answers, version, Vec::new());
            let cut = (0..bytes.len()).map(|length| &bytes[..length]).find(|cut| read_answers(version, cut).is_ok());
            assert_eq!(cut, None, "{name}");
            assert_eq!(read_answers(version, &[&bytes[..], &[0]].concat()), Err(Garbage), "{name}");
        }
        let introduction = samples::INTRODUCTION.write(version);
        assert_eq!(Introduction::read(version, &introduction[..1]), Err(Garbage));
        assert_eq!(Together::read(version, &[0, 9, 0, 0, 0, 0, 0, 0]), Err(Garbage), "a broker reached in a way nobody knows");
    }
}

#[test]
fn a_count_that_the_bytes_do_not_have_reserves_no_memory() {
    for version in VERSIONS {
        assert_eq!(read_answers(version, &put(Vec::new(), &(1u64 << 62))), Err(Garbage));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for version in VERSIONS {
            let _ = (Item::read(version, &mut &bytes[..]), read_answers(version, &bytes), Together::read(version, &bytes));
        }
        for version in VERSIONS {
            let _ = Bulletin::read(version, &bytes);
        }
    }
}
