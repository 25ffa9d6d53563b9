//! What a file may be, and what is said of one that may not.

use serde_json::json;

use super::file::{COLUMNS, FAULTS_MAX, ROWS_MAX, Row, cells, read};
use super::*;
use crate::domain::{Cancellation, Price, Terms, Units};

const HEADER: &str = "sku,name,price,currency,total,starts_at,ends_at";

fn line(sku: &str) -> String {
    format!("{sku},lamp,4999,EUR,100,2026-11-27T12:00:00Z,2026-11-28T12:00:00Z")
}

fn rows(text: &str) -> Vec<Row> {
    let (rows, faults) = read(text.as_bytes()).unwrap();
    faults.none().unwrap();
    rows
}

/// Line, field and message of each fault.
fn faults(bytes: &[u8]) -> Vec<(u64, String, String)> {
    let problem = match read(bytes) {
        Ok((_, faults)) => faults.none().expect_err("there are faults"),
        Err(problem) => problem,
    };
    let Problem::InvalidRequest(faults) = problem else { panic!("{problem:?}") };
    faults.into_iter().map(|fault| (fault.line.unwrap_or(0), fault.field.into_owned(), fault.message.into_owned())).collect()
}

#[test]
fn a_file_is_read_however_it_was_written() {
    let plain = format!("{HEADER}\n{}\n", line("KB-75"));
    let crlf = plain.replace('\n', "\r\n");
    let marked = format!("\u{feff}{plain}");
    let unended = plain.trim_end().to_owned();
    let spaced = plain.replace("sku,name", "sku, name");
    let quoted = plain.replace("lamp", "\"lamp\"").replace("KB-75", "\"KB-75\"");
    let backwards = "ends_at,starts_at,total,currency,price,name,sku\n2026-11-28T12:00:00Z,2026-11-27T12:00:00Z,100,EUR,4999,lamp,KB-75\n";
    for text in [plain.as_str(), &crlf, &marked, &unended, &spaced, &quoted, backwards] {
        let rows = rows(text);
        let [Row { line: 2, terms, total }] = rows.as_slice() else { panic!("{text:?}: {rows:?}") };
        assert_eq!((terms.sku.as_ref().map(Sku::as_str), terms.name.as_str(), total.get()), (Some("KB-75"), "lamp", 100));
        assert_eq!((terms.price.minor(), terms.limit_per_user, terms.cancellation), (4999, None, Cancellation::Unpaid));
    }
    let text = format!("{HEADER}\n{}\n\n{}\n", line("a").replace("lamp", "\"two\nlines, \"\"quoted\"\"\""), line("b"));
    let rows = self::faults(text.as_bytes());
    assert_eq!(rows[0].0, 2, "a control character in a name");
    assert_eq!(rows.len(), 1);
}

#[test]
fn each_faulty_line_is_named() {
    let text = format!(
        "{HEADER}\n{}\n{}\n{}\n{}\n{}\n",
        line("a"),
        line("b").replace("4999", "49,99"),
        line("a"),
        line("c d").replace("EUR", "XYZ").replace("100", "-1"),
        line("").replace("lamp", "")
    );
    let found: Vec<(u64, String)> = faults(text.as_bytes()).into_iter().map(|(line, field, _)| (line, field)).collect();
    let expected = [(3, "body"), (4, "sku"), (5, "sku"), (5, "currency"), (5, "total"), (6, "name")];
    for (line, field) in expected {
        assert!(found.contains(&(line, field.to_owned())), "{line} {field}: {found:?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
}

#[test]
fn a_file_that_is_none_is_refused_as_a_whole() {
    let one = line("a");
    for (text, field) in [
        (String::new(), "body"),
        ("\u{feff}".to_owned(), "body"),
        (HEADER.to_owned(), "body"),
        (format!("{HEADER},colour\n{one},red\n"), "colour"),
        (format!("{HEADER},sku\n{one},a\n"), "sku"),
        (format!("Sku{}\n{one}\n", &HEADER[3..]), "Sku"),
    ] {
        let found = faults(text.as_bytes());
        assert!(found.iter().any(|(_, named, _)| named == field), "{text:?}: {found:?}");
    }
    let mut bytes = format!("{HEADER}\n").into_bytes();
    bytes.extend(line("a").bytes().map(|byte| if byte == b'm' { 0xff } else { byte }));
    assert_eq!(faults(&bytes), [(2, "name".to_owned(), "not UTF-8".to_owned())]);
}

#[test]
fn a_file_is_as_long_as_it_may_be_and_faults_are_told_up_to_a_number() {
    let all = |count: usize| (0..count).map(|number| line(&format!("sku-{number}"))).collect::<Vec<_>>().join("\n");
    assert_eq!(rows(&format!("{HEADER}\n{}\n", all(ROWS_MAX))).len(), ROWS_MAX);
    assert_eq!(faults(format!("{HEADER}\n{}\n", all(ROWS_MAX + 1)).as_bytes())[0].1, "body");
    let faulty = format!("{HEADER}\n{}\n", vec![line("a b"); 500].join("\n"));
    assert_eq!(faults(faulty.as_bytes()).len(), FAULTS_MAX);
}

#[test]
fn what_is_written_is_read_back_as_it_was() {
    let (full, _) = crate::admin::commodities::terms::new_commodity(crate::http::Fields::of(
        json!({"sku": "=1+1", "name": "'=x, \"Größe\"", "description": "two\nlines", "image_url": "https://example.org/a.png", "price": 4999,
            "currency": "EUR", "total": 7, "limit_per_user": 2, "hold_seconds": 60, "grace_seconds": 5, "cancellation": "any",
            "starts_at": "2026-11-27T12:00:00Z", "ends_at": "2026-11-28T12:00:00Z"})
        .as_object()
        .unwrap()
        .clone(),
    ))
    .unwrap();
    let bare = Terms { sku: None, image_url: None, limit_per_user: None, hold_seconds: None, price: Price::MAX, ..full.clone() };
    for terms in [full, bare] {
        let total = Units::new(7).unwrap();
        let mut lines = Lines::with_names(COLUMNS);
        lines.write(cells(&terms, total).map(|cell| defused(&cell).into_owned().into()));
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        let rows = rows(&text);
        assert_eq!((&rows[0].terms, rows[0].total), (&terms, total), "{text}");
    }
}
