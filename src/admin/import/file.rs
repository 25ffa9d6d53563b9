//! A file of commodities, as CSV: each line's faults are told with its number. Never lists anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use crate::admin::commodities::terms::new_commodity;
use crate::admin::csv::undone;
use crate::domain::{Sku, Terms, Units};
use crate::http::Fields;
use crate::http::problem::{Fault, Problem};

/// Commodities in one file, at most.
pub(super) const ROWS_MAX: usize = 10_000;
/// Faults that are told, at most; a file may have very many.
pub(super) const FAULTS_MAX: usize = 100;

/// The columns there are, in the order of an export.
pub(super) const COLUMNS: [&str; 13] = [
    "sku",
    "name",
    "description",
    "image_url",
    "price",
    "currency",
    "total",
    "limit_per_user",
    "hold_seconds",
    "grace_seconds",
    "cancellation",
    "starts_at",
    "ends_at",
];

/// Those whose values are whole numbers.
const NUMBERS: [&str; 5] = ["price", "total", "limit_per_user", "hold_seconds", "grace_seconds"];

/// A commodity of a file.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    pub(super) terms: Terms,
    pub(super) total: Units,
}

/// What is wrong with a file: the first so many faults.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(fault);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn are_told(&self) -> bool {
        self.0.len() >= FAULTS_MAX
    }

    /// Whether there is none.
    pub(super) fn none(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(self.0)) }
    }
}

/// The commodities of a file, and what is wrong with the other lines. A blank cell is as if its column were not there.
///
/// # Errors
/// What makes the file one that cannot be read at all.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Row>, Faults), Problem> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut next =
        |record: &mut ByteRecord| reader.read_byte_record(record).map_err(|error| Problem::field("body", format!("not CSV: {error}")));
    if !next(&mut record)? {
        return Err(Problem::field("body", "a line with the names of the columns is needed"));
    }
    let columns = columns(&record)?;
    let (mut rows, mut faults, mut lines) = (Vec::new(), Faults::default(), BTreeMap::new());
    let (mut count, mut numbers) = (0, LineNumbers { bytes, at: 0, line: 1 });
    while next(&mut record)? {
        count += 1;
        if count > ROWS_MAX {
            return Err(Problem::field("body", format!("more than {ROWS_MAX} commodities: send them in several files")));
        }
        if faults.are_told() {
            continue;
        }
        let line = numbers.line_of(record.position().map_or(0, csv::Position::byte));
        match row(&columns, &record, line) {
            Ok(row) => match row.terms.sku.as_ref().and_then(|sku| lines.insert(sku.clone(), line)) {
                Some(first) => faults.add(Fault::new("sku", format!("the same as in line {first}")).in_line(line)),
                None => rows.push(row),
            },
            Err(found) => found.into_iter().for_each(|fault| faults.add(fault.in_line(line))),
        }
    }
    if count == 0 {
        return Err(Problem::field("body", "a commodity is needed"));
    }
    Ok((rows, faults))
}

/// Counts lines of a file, from 1. (The reader's own count takes a line for the one before it where lines end with CRLF.)
struct LineNumbers<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl LineNumbers<'_> {
    /// The line of the first letter from that byte on. Bytes come in their order.
    fn line_of(&mut self, byte: u64) -> u64 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.at, self.bytes.len());
        let ends = self.bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let to = from + ends;
        self.line += self.bytes[self.at..to].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = to;
        self.line
    }
}

/// Which column each cell of a line is of.
fn columns(header: &ByteRecord) -> Result<Vec<&'static str>, Problem> {
    let mut columns: Vec<&'static str> = Vec::new();
    let mut faults = Vec::new();
    for name in header {
        let name = String::from_utf8_lossy(name);
        match COLUMNS.into_iter().find(|column| *column == name.trim()) {
            Some(column) if columns.contains(&column) => faults.push(Fault::new(column, "given more than once").in_line(1)),
            Some(column) => columns.push(column),
            None => faults.push(Fault::new(shortened(&name), "no such column").in_line(1)),
        }
        if faults.len() == FAULTS_MAX {
            break;
        }
    }
    if faults.is_empty() { Ok(columns) } else { Err(Problem::InvalidRequest(faults)) }
}

/// So much of a name as is worth telling.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

fn row(columns: &[&'static str], record: &ByteRecord, line: u64) -> Result<Row, Vec<Fault>> {
    if record.len() != columns.len() {
        let message = format!("{} cells, and the first line names {} columns", record.len(), columns.len());
        return Err(vec![Fault::new("body", message)]);
    }
    let mut object = Map::new();
    let mut faults = Vec::new();
    for (column, cell) in columns.iter().zip(record) {
        match std::str::from_utf8(cell) {
            Ok("") => {}
            Ok(text) => drop(object.insert((*column).to_owned(), value(column, text))),
            Err(_) => faults.push(Fault::new(*column, "not UTF-8")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    match new_commodity(Fields::of(object)) {
        Ok((terms, total)) => Ok(Row { line, terms, total }),
        Err(Problem::InvalidRequest(faults)) => Err(faults),
        Err(other) => Err(vec![Fault::new("body", other.to_string())]),
    }
}

/// A cell as a body would have it.
fn value(column: &str, text: &str) -> Value {
    let number = || text.trim().parse::<i64>().ok().map(Value::from);
    let text = || Value::from(undone(text));
    if NUMBERS.contains(&column) { number().unwrap_or_else(text) } else { text() }
}

/// A commodity as the cells of a line, which [`read`] reads back.
pub(super) fn cells(terms: &Terms, total: Units) -> [Cow<'_, str>; COLUMNS.len()] {
    let number = |count: Option<u32>| count.map(|count| count.to_string()).unwrap_or_default().into();
    [
        terms.sku.as_ref().map_or("", Sku::as_str).into(),
        terms.name.as_str().into(),
        terms.description.as_str().into(),
        terms.image_url.as_deref().unwrap_or_default().into(),
        terms.price.minor().to_string().into(),
        terms.currency.code().into(),
        total.get().to_string().into(),
        number(terms.limit_per_user),
        number(terms.hold_seconds),
        terms.grace_seconds.to_string().into(),
        terms.cancellation.word().into(),
        terms.starts_at.to_string().into(),
        terms.ends_at.to_string().into(),
    ]
}
