//! How long pages of lists of orders and exports take where many orders are: the first page, one in the middle, the last, for each
//! combination of filters. Every page is held against what must be on it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use doorbuster::domain::OrderId;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Deserialize;

use super::cases::{Page, Reader, Rows, cases};
use super::close::{Closing, close};
use super::download::download;
use super::shop::{On, Shop};
use super::spread::Spread;
use super::{Fill, Filled};
use crate::client::{Client, Shape};
use crate::machine::Machine;
use crate::report::{Table, latency, thousands};
use crate::sale::Desk;
use crate::server::Launcher;
use crate::tokens::Mint;

/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// A page that has taken so long all together is not asked for again.
const PAGE_BUDGET: Duration = Duration::from_secs(5);
/// An export that has taken so long all together is not asked for again.
const EXPORT_BUDGET: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Lists {
    /// Where.
    pub on: On,
    /// What the database is filled with.
    pub fill: Fill,
    /// How often each page and export is asked for, at least once; fewer times if it is slow.
    pub repeats: usize,
    /// How long an export may take; it is cut off then.
    pub export_seconds_max: u64,
}

/// The pages of one list, in microseconds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Listed {
    /// Whose list it is and what it selects.
    pub list: String,
    /// Orders in it.
    pub orders: usize,
    /// The first page.
    pub first_us: Option<Spread>,
    /// One in the middle.
    pub middle_us: Option<Spread>,
    /// The last one.
    pub last_us: Option<Spread>,
}

/// An export.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Exported {
    /// What it selects.
    pub list: String,
    /// Orders that came, of the last time it was asked for.
    pub orders: u64,
    /// Bytes that came, of the last time it was asked for.
    pub bytes: u64,
    /// Whether it came to its end each time.
    pub is_whole: bool,
    /// How long it took, in microseconds.
    pub took_us: Option<Spread>,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ListsReport {
    /// Where.
    pub machine: Machine,
    /// What was asked for.
    pub lists: Lists,
    /// What came of closing the sales that are over; none if there are none.
    pub closing: Option<Closing>,
    /// Each list.
    pub pages: Vec<Listed>,
    /// Each export.
    pub exports: Vec<Exported>,
}

#[derive(Deserialize)]
struct Body {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    order_id: OrderId,
}

/// One who asks for lists.
struct Asker {
    client: Client,
    authorization: HeaderValue,
}

/// Measures on a database of its own; logs go into `folder`. `say` gets a line a list.
///
/// # Errors
/// If a server is missing or does not answer, or a page is not what must be on it.
pub async fn lists(lists: &Lists, launcher: &Launcher, mint: &Mint, folder: &Path, say: impl Fn(String)) -> anyhow::Result<ListsReport> {
    let shop = Shop::open(lists.on, lists.fill, launcher, folder).await?;
    let filled = shop.filled();
    let closing = if filled.over().is_empty() {
        None
    } else {
        let mut desk = Desk::of(shop.operators().clone(), shop.buyers().clone(), mint)?;
        Some(close(&mut desk, filled.over().iter().map(|place| place.id)).await?)
    };
    let mut operator = Asker { client: Client::new(shop.operators().clone()), authorization: mint.operator()? };
    let mut buyer = Asker { client: Client::new(shop.buyers().clone()), authorization: mint.buyer(Filled::regular())? };
    let rows = Rows::of(filled);
    let mut pages = Vec::new();
    for case in cases() {
        let asker = match case.reader {
            Reader::Operator => &mut operator,
            Reader::Buyer => &mut buyer,
        };
        let matching = rows.matching(case);
        let mut spreads = Vec::new();
        for page in rows.pages(case, &matching) {
            spreads.push(asker.page(&page, lists.repeats).await.with_context(|| format!("{case}: {}", page.path))?);
        }
        let listed =
            Listed { list: case.to_string(), orders: matching.len(), first_us: spreads[0], middle_us: spreads[1], last_us: spreads[2] };
        say(listed.to_string());
        pages.push(listed);
    }
    let mut exports = Vec::new();
    let of_commodity = format!("?commodity_id={}", rows.commodity());
    for (list, query) in [("all", ""), ("commodity", of_commodity.as_str())] {
        let exported = export(lists, &shop, mint, list, query).await?;
        say(exported.to_string());
        exports.push(exported);
    }
    shop.close().await?;
    Ok(ListsReport { machine: Machine::here(), lists: lists.clone(), closing, pages, exports })
}

impl Asker {
    /// How long a page takes that is what it must be.
    async fn page(&mut self, page: &Page, repeats: usize) -> anyhow::Result<Option<Spread>> {
        let (shape, began, mut took_us) = (Shape::get(&page.path), Instant::now(), Vec::new());
        while took_us.is_empty() || (took_us.len() < repeats && began.elapsed() < PAGE_BUDGET) {
            let sent = Instant::now();
            let answer = self.client.send(&shape, Some(&self.authorization), None, PAGE_TIMEOUT).await;
            took_us.push(sent.elapsed().as_micros() as u64);
            let answer = answer.map_err(|error| anyhow::anyhow!(error.words()))?;
            ensure!(answer.status == StatusCode::OK, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
            let body: Body = serde_json::from_slice(&answer.body)?;
            let ids: Vec<OrderId> = body.items.iter().map(|item| item.order_id).collect();
            ensure!(ids == page.ids, "other orders than there are: {ids:?} and not {:?}", page.ids);
            ensure!(body.next_cursor.is_some() == page.has_next, "the next page is {:?}", body.next_cursor);
        }
        Ok(Spread::of(took_us))
    }
}

async fn export(lists: &Lists, shop: &Shop, mint: &Mint, list: &str, query: &str) -> anyhow::Result<Exported> {
    let (path, bound) = (format!("/admin/v1/orders.csv{query}"), Duration::from_secs(lists.export_seconds_max));
    let (began, mut all) = (Instant::now(), Vec::new());
    while all.is_empty() || (all.len() < lists.repeats && began.elapsed() < EXPORT_BUDGET) {
        all.push(download(shop.operators(), &path, &mint.operator()?, bound).await?);
    }
    let last = all[all.len() - 1];
    // The first line is no order.
    let orders = last.lines.saturating_sub(1);
    let expected = shop.filled().orders().filter(|made| query.is_empty() || made.order.commodity == shop.filled().on_sale()[0].id).count();
    ensure!(!last.is_whole || orders == expected as u64, "{path}: {orders} orders, and {expected} there are");
    Ok(Exported {
        list: format!("orders.csv: {list}"),
        orders,
        bytes: last.bytes,
        is_whole: all.iter().all(|one| one.is_whole),
        took_us: Spread::of(all.iter().map(|one| one.took_us)),
    })
}

/// The median in words.
fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| latency(spread.median))
}

impl Listed {
    fn worst(&self) -> Option<u64> {
        [self.first_us, self.middle_us, self.last_us].into_iter().flatten().map(|spread| spread.max).max()
    }
}

impl std::fmt::Display for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, middle, last] = [self.first_us, self.middle_us, self.last_us].map(median);
        write!(f, "{:<42} {:>11} orders  first {first:>8}  middle {middle:>8}  last {last:>8}", self.list, thousands(self.orders as u64))
    }
}

impl std::fmt::Display for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = if self.is_whole { "" } else { ", cut off then" };
        write!(f, "{:<42} {:>11} orders  {}{cut}", self.list, thousands(self.orders), median(self.took_us))
    }
}

impl std::fmt::Display for ListsReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = Table::new(&[&format!("pages on {}, medians", self.lists.on), "orders", "first", "middle", "last", "worst of all"]);
        for listed in &self.pages {
            let mut line = vec![listed.list.clone(), thousands(listed.orders as u64)];
            line.extend([listed.first_us, listed.middle_us, listed.last_us].map(median));
            line.push(listed.worst().map_or_else(|| "-".to_owned(), latency));
            table.line(line);
        }
        let mut exports = Table::new(&["exports", "orders", "bytes", "times", "median", "least", "most"]);
        for exported in &self.exports {
            let times = exported.took_us.map_or(0, |spread| spread.count);
            let mut line = vec![exported.list.clone(), thousands(exported.orders), thousands(exported.bytes), times.to_string()];
            line.extend(Spread::cells(exported.took_us, latency));
            line.push(if exported.is_whole { String::new() } else { "cut off".to_owned() });
            exports.line(line);
        }
        if let Some(closing) = &self.closing {
            writeln!(f, "  {closing}\n")?;
        }
        write!(f, "{table}\n{exports}\n  {}", self.machine)
    }
}
