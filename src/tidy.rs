//! Reads the source and holds it to the house rules no lint knows. Compiled for tests only.

use std::path::{Path, PathBuf};

/// Where code of this workspace lives, from its root.
const ROOTS: [&str; 7] = ["core", "src", "bin", "benches", "tests", "migrations", "loadtest"];

/// What is pure: time, ids and I/O reach it as arguments.
const PURE: [&str; 2] = ["core/src", "src/trace/context"];

/// Words that never stand in the code of a pure module: crates and modules that do I/O, keep time or draw lots.
const IMPURE: [&str; 18] = [
    "tokio",
    "actix_web",
    "actix_rt",
    "lapin",
    "sea_orm",
    "sqlx",
    "reqwest",
    "rand",
    "tracing",
    "metrics",
    "SystemTime",
    "Instant",
    "fs",
    "net",
    "env",
    "thread",
    "async",
    "await",
];

/// The longest a source file may be.
const LINES_MAX: usize = 600;

struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_pure(&self) -> bool {
        PURE.iter().any(|root| self.path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/') || rest == ".rs"))
    }

    /// The lines with their numbers, without comments and without what stands between quotes.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        (1..).zip(self.text.lines()).map(|(number, line)| {
            let unquoted: String = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
            (number, unquoted.split("//").next().unwrap_or_default().to_owned())
        })
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ROOTS {
        collect(&root.join(dir), &mut files);
    }
    files.sort();
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"),
        text: std::fs::read_to_string(&file).unwrap(),
    };
    files.into_iter().map(source).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
}

fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_reader_finds_the_source() {
    let sources = sources();
    for expected in ["src/lib.rs", "core/src/engine/mod.rs", "core/src/event/mod.rs", "migrations/src/lib.rs"] {
        assert!(sources.iter().any(|source| source.path == expected), "{expected}");
    }
    let pure: Vec<bool> =
        ["core/src/form.rs", "core/src/event/tests.rs", "src/trace/context.rs", "core/src/engine/mod.rs", "core/srcs.rs", "src/log/mod.rs"]
            .map(|path| Source { path: path.into(), text: String::new() }.is_pure())
            .into();
    assert_eq!(pure, [true, true, true, true, false, false]);
}

#[test]
fn comments_and_quotes_are_no_code() {
    let source = Source { path: String::new(), text: "let a = \"tokio\"; // rand\nuse std::{fs, net};".into() };
    let code: Vec<(usize, String)> = source.code().collect();
    assert_eq!(code, [(1, "let a = \"\"; ".to_owned()), (2, "use std::{fs, net};".to_owned())]);
    assert!(words(&code[1].1).any(|word| word == "net"));
}

#[test]
fn pure_modules_use_nothing_that_does_io_keeps_time_or_draws_lots() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.is_pure()) {
        for (number, code) in source.code() {
            offences.extend(words(&code).filter(|word| IMPURE.contains(word)).map(|word| format!("{}:{number}: {word}", source.path)));
        }
    }
    none(offences);
}

#[test]
fn only_traces_know_opentelemetry() {
    let elsewhere = |source: &&Source| source.path.starts_with("src/") && !source.path.starts_with("src/trace/");
    let mut offences = Vec::new();
    for source in sources().iter().filter(elsewhere) {
        let knowing = source.code().filter(|(_, code)| words(code).any(|word| word.starts_with("opentelemetry")));
        offences.extend(knowing.map(|(number, _)| format!("{}:{number}", source.path)));
    }
    none(offences);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    none(sources().into_iter().filter(silent).map(|source| format!("{} does not open with //!", source.path)).collect());
}

#[test]
fn no_file_is_too_long() {
    let lines = |source: &Source| source.text.lines().count();
    let long = |source: &Source| lines(source) > LINES_MAX;
    none(sources().iter().filter(|source| long(source)).map(|source| format!("{}: {} lines", source.path, lines(source))).collect());
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let mut offences = Vec::new();
    for source in sources() {
        let allowing = source.code().filter(|(_, code)| code.contains("#[allow(") || code.contains("#![allow("));
        offences.extend(allowing.map(|(number, _)| format!("{}:{number}: #[expect(.., reason = ..)] instead", source.path)));
    }
    none(offences);
}
