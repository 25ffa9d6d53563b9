//! `doorbuster token`: mints tokens with the configured key. Never makes accounts; a token needs none.

use std::fs::{OpenOptions, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use crate::auth::Authenticator;
use crate::domain::{Timestamp, UserId};
use crate::store::Role;

/// From how many tokens on a progress bar is worth its while.
const PROGRESS_TOKENS_MIN: u32 = 50_000;

/// Tokens between two moves of the bar.
const PROGRESS_STEP: u32 = 1_000;

/// What to mint.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first user.
    pub user: UserId,
    /// The role in every token.
    pub role: Role,
    /// For how many users, counted up from the first. At least 1.
    pub count: u32,
    /// The CSV file to write; none = standard output.
    pub out: Option<PathBuf>,
}

/// Why no tokens were minted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such number of users.
    #[error("--count must be at least 1, and --user and --count together must stay below 2^63")]
    Count,
    /// The output failed.
    #[error("cannot write {name}: {source}")]
    Write {
        /// What was written to.
        name: String,
        /// What came of it.
        source: std::io::Error,
    },
}

/// Mints as asked. One token without a file goes to `stdout` alone in its line; otherwise it is CSV with a header,
/// `user_id,token`. A file is made with mode 600, and what it held is gone.
///
/// # Errors
/// [`TokenError`] for an impossible count, and when the output fails.
pub fn run(request: &Request, authenticator: &Authenticator, now: Timestamp, stdout: &mut impl Write) -> Result<(), TokenError> {
    if request.count == 0 || request.user.get().checked_add(i64::from(request.count) - 1).is_none() {
        return Err(TokenError::Count);
    }
    let Some(path) = &request.out else {
        let written = if request.count == 1 {
            writeln!(stdout, "{}", authenticator.mint(request.user, request.role, now))
        } else {
            write_csv(request, authenticator, now, &mut BufWriter::new(stdout))
        };
        return written.map_err(|source| TokenError::Write { name: "standard output".into(), source });
    };
    write_file(path, request, authenticator, now).map_err(|source| TokenError::Write { name: path.display().to_string(), source })
}

fn write_file(path: &Path, request: &Request, authenticator: &Authenticator, now: Timestamp) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // The mode above counts for a new file only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    let mut writer = BufWriter::new(file);
    write_csv(request, authenticator, now, &mut writer)
}

fn write_csv(request: &Request, authenticator: &Authenticator, now: Timestamp, out: &mut impl Write) -> std::io::Result<()> {
    let progress = progress_bar(request.count);
    writeln!(out, "user_id,token")?;
    for step in 0..request.count {
        let user = UserId::new(request.user.get() + i64::from(step)).expect("the sum was checked and both are positive");
        writeln!(out, "{user},{}", authenticator.mint(user, request.role, now))?;
        if step % PROGRESS_STEP == 0 {
            progress.set_position(u64::from(step));
        }
    }
    progress.finish_and_clear();
    out.flush()
}

/// Shows itself on standard error, if that is a terminal.
fn progress_bar(count: u32) -> ProgressBar {
    if count < PROGRESS_TOKENS_MIN {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} tokens, {per_sec}, {eta} left");
    ProgressBar::new(u64::from(count)).with_style(style.expect("the template is well formed"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::auth::Caller;
    use crate::config;

    fn authenticator() -> Authenticator {
        let config = config::Auth {
            internal_secret: None,
            jwt_secret: None,
            issuer: None,
            audience: None,
            issuers: Vec::new(),
            token_ttl_seconds: 60,
            hashing_concurrency_max: 1,
        };
        Authenticator::new(&config, &"0123456789abcdef0123456789abcdef".into()).expect("the test's secret is long enough")
    }

    fn request(user: i64, role: Role, count: u32) -> Request {
        Request { user: UserId::new(user).expect("positive"), role, count, out: None }
    }

    fn minted(request: &Request) -> Result<String, TokenError> {
        let mut stdout = Vec::new();
        run(request, &authenticator(), crate::clock::system(), &mut stdout)?;
        Ok(String::from_utf8(stdout).expect("tokens are text"))
    }

    #[test]
    fn one_token_stands_alone_in_its_line() {
        let output = minted(&request(42, Role::Admin, 1)).expect("it is written");
        let token = output.strip_suffix('\n').expect("it ends its line");
        let admin = Caller { principal: UserId::new(42).expect("positive").into(), role: Role::Admin };
        assert_eq!(authenticator().verify(token), Ok(admin));
    }

    #[test]
    fn several_tokens_are_csv_and_each_is_its_users() {
        let output = minted(&request(42, Role::Buyer, 3)).expect("it is written");
        let mut lines = output.lines();
        assert_eq!(lines.next(), Some("user_id,token"));
        let users: Vec<i64> = lines
            .map(|line| {
                let (user, token) = line.split_once(',').expect("two columns");
                let caller = authenticator().verify(token).expect("the token is good");
                assert_eq!(caller.principal.to_string(), user);
                caller.principal.account().expect("the account of a number").get()
            })
            .collect();
        assert_eq!(users, [42, 43, 44]);
    }

    #[test]
    fn a_file_of_tokens_is_the_owners_alone_even_if_it_was_there_before() {
        let path = std::env::temp_dir().join(format!("doorbuster-tokens-{}.csv", uuid::Uuid::now_v7()));
        std::fs::write(&path, "something longer than nothing\n".repeat(100)).expect("the temporary folder is writable");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("the file is ours");
        let request = Request { out: Some(path.clone()), ..request(1, Role::Buyer, 2) };
        assert_eq!(minted(&request).expect("it is written"), "", "standard output stays empty");
        assert_eq!(std::fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).expect("it is text").lines().count(), 3);
        std::fs::remove_file(&path).expect("the file is ours");
    }

    #[test]
    fn an_impossible_count_is_refused() {
        for request in [request(1, Role::Buyer, 0), request(i64::MAX, Role::Buyer, 2)] {
            assert!(matches!(minted(&request), Err(TokenError::Count)), "{request:?}");
        }
        assert!(minted(&request(i64::MAX, Role::Buyer, 1)).is_ok());
    }
}
