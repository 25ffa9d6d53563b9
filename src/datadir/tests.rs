//! One process a folder, and a secret nobody else reads.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;

use super::*;

/// A folder of this test alone, deleted at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("doorbuster-datadir-{}", uuid::Uuid::now_v7()));
        Self(path)
    }

    fn secret_file(&self) -> PathBuf {
        self.0.join(SECRET_FILE)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("it is there").mode() & 0o777
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_second_open_is_refused_with_folder_and_pid_until_the_first_is_gone() {
    let scratch = Scratch::new();
    let first = DataDir::open(&scratch.0).expect("the folder is free");
    let refusal = DataDir::open(&scratch.0).expect_err("the folder is taken").to_string();
    assert!(refusal.contains(&scratch.0.display().to_string()), "{refusal}");
    assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
    drop(first);
    DataDir::open(&scratch.0).expect("the folder is free again");
}

#[test]
fn folder_lock_and_secret_are_the_owners_alone() {
    let scratch = Scratch::new();
    let data = DataDir::open(&scratch.0).expect("the folder is free");
    data.secret().expect("a secret is made");
    assert_eq!(Scratch::mode(&scratch.0), 0o700);
    assert_eq!(Scratch::mode(&scratch.0.join(LOCK_FILE)), 0o600);
    assert_eq!(Scratch::mode(&scratch.secret_file()), 0o600);
}

#[test]
fn a_secret_stays_the_same_and_tools_read_it_beside_the_server() {
    let scratch = Scratch::new();
    let data = DataDir::open(&scratch.0).expect("the folder is free");
    let secret = data.secret().expect("a secret is made");
    assert_eq!(secret.expose_secret().len(), 64);
    assert_eq!(read_secret(&scratch.0).expect("it is there").expose_secret(), secret.expose_secret());
    drop(data);
    let again = DataDir::open(&scratch.0).expect("the folder is free").secret().expect("it is there");
    assert_eq!(again.expose_secret(), secret.expose_secret());
}

#[test]
fn two_folders_have_two_secrets() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let secret = |scratch: &Scratch| DataDir::open(&scratch.0).expect("the folder is free").secret().expect("a secret is made");
    assert_ne!(secret(&one).expose_secret(), secret(&other).expose_secret());
}

#[test]
fn a_secret_others_may_read_is_refused_with_the_remedy() {
    let scratch = Scratch::new();
    let data = DataDir::open(&scratch.0).expect("the folder is free");
    data.secret().expect("a secret is made");
    for mode in [0o640, 0o604, 0o660, 0o644] {
        std::fs::set_permissions(scratch.secret_file(), Permissions::from_mode(mode)).expect("the file is ours");
        let refusal = data.secret().expect_err("others may read it").to_string();
        assert!(refusal.contains(&format!("chmod 600 {}", scratch.secret_file().display())), "{refusal}");
    }
    std::fs::set_permissions(scratch.secret_file(), Permissions::from_mode(0o400)).expect("the file is ours");
    data.secret().expect("the owner alone may read it");
}

#[test]
fn a_tool_without_a_secret_is_told_how_to_get_one() {
    let scratch = Scratch::new();
    let refusal = read_secret(&scratch.0).expect_err("there is none").to_string();
    assert!(refusal.contains("DOORBUSTER__AUTH__JWT_SECRET"), "{refusal}");
}

#[test]
fn a_garbled_secret_is_refused_and_not_replaced() {
    let scratch = Scratch::new();
    let data = DataDir::open(&scratch.0).expect("the folder is free");
    for garbled in [&b""[..], b" \n", b"two\nlines", b"\xff\xfe", &[b'a'; 5000]] {
        std::fs::write(scratch.secret_file(), garbled).expect("the folder is ours");
        std::fs::set_permissions(scratch.secret_file(), Permissions::from_mode(0o600)).expect("the file is ours");
        assert!(matches!(data.secret(), Err(DataDirError::Garbled { .. })), "{garbled:?}");
        assert_eq!(std::fs::read(scratch.secret_file()).expect("it is there"), garbled);
    }
}

#[test]
fn what_a_crash_left_behind_is_no_hindrance() {
    let scratch = Scratch::new();
    let data = DataDir::open(&scratch.0).expect("the folder is free");
    std::fs::write(scratch.0.join(SECRET_TEMPORARY_FILE), b"half").expect("the folder is ours");
    assert_eq!(data.secret().expect("a secret is made").expose_secret().len(), 64);
    assert!(!scratch.0.join(SECRET_TEMPORARY_FILE).exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let scratch = Scratch::new();
    std::fs::write(&scratch.0, b"a file").expect("the temporary folder is writable");
    let refusal = DataDir::open(&scratch.0).expect_err("a file is in the way").to_string();
    assert!(refusal.contains(&scratch.0.display().to_string()), "{refusal}");
    std::fs::remove_file(&scratch.0).expect("the file is ours");
}
