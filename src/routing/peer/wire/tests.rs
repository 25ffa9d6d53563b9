//! The peer link's bytes against golden files: what a release says, its neighbours in time understand. Garbage is an error, never a
//! panic.

use proptest::prelude::*;

use super::*;

const VERSIONS: [PeerVersion; 2] = [PeerVersion::V3, PeerVersion::V4];

fn golden(version: PeerVersion) -> &'static str {
    match version {
        PeerVersion::V3 => include_str!("golden/v3.txt"),
        PeerVersion::V4 => include_str!("golden/v4.txt"),
    }
}

/// Everything that is said in a version, by name.
fn said(version: PeerVersion) -> Vec<(String, Vec<u8>)> {
    let named = |name: String, bytes| (name, bytes);
    let items = samples::items().into_iter().map(|(name, item)| named(name, item.write(version, Vec::new())));
    let answers = samples::answers().into_iter().map(|(name, answers)| named(name, write_answers(&answers, version, Vec::new())));
    let bulletins = samples::bulletins().into_iter().map(|(name, bulletin)| named(name, bulletin.write(version, Vec::new())));
    let introduction = [("introduction".to_owned(), samples::INTRODUCTION.write(version))];
    items.chain(answers).chain(bulletins).chain(introduction).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn everything_that_is_said_is_these_bytes() {
    for version in VERSIONS {
        let said: String = said(version).iter().map(|(name, bytes)| format!("{name}: {}\n", hex(bytes))).collect();
        assert_eq!(said, golden(version), "version {version}");
    }
}

#[test]
fn everything_that_is_said_is_understood() {
    for version in VERSIONS {
        for (name, item) in samples::items() {
            let bytes = item.write(version, Vec::new());
            let mut rest = &bytes[..];
            assert_eq!((Item::read(version, &mut rest), rest), (Ok(item), &[][..]), "{name}");
        }
        for (name, answers) in samples::answers() {
            assert_eq!(read_answers(version, &write_answers(&answers, version, Vec::new())), Ok(answers), "{name}");
        }
        for (name, bulletin) in samples::bulletins() {
            assert_eq!(Bulletin::read(version, &bulletin.write(version, Vec::new())), Ok(bulletin), "{name}");
        }
        let introduction = samples::INTRODUCTION;
        assert_eq!(Introduction::read(version, &introduction.write(version)), Ok(introduction));
    }
}

#[test]
fn what_is_cut_short_or_too_long_is_garbage() {
    for version in VERSIONS {
        for (name, answers) in samples::answers() {
            let bytes = write_answers(&answers, version, Vec::new());
            let cut = (0..bytes.len()).map(|length| &bytes[..length]).find(|cut| read_answers(version, cut).is_ok());
            assert_eq!(cut, None, "{name}");
            assert_eq!(read_answers(version, &[&bytes[..], &[0]].concat()), Err(Garbage), "{name}");
        }
        let introduction = samples::INTRODUCTION.write(version);
        assert_eq!(Introduction::read(version, &introduction[..1]), Err(Garbage));
        assert_eq!(Bulletin::read(version, &[0, 9, 0, 0, 0, 0, 0, 0]), Err(Garbage), "a broker reached in a way nobody knows");
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
            let _ = (Item::read(version, &mut &bytes[..]), read_answers(version, &bytes), Bulletin::read(version, &bytes));
        }
    }
}
