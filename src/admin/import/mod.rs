//! Commodities from a file, and into one. A file is taken whole or not at all.
//!
//! 1. Every line is checked; one fault, and nothing changes.
//! 2. One transaction claims all article numbers and writes all commodities down. If the process dies before its commit, nothing has changed; from
//!    there on all of them will be listed, whoever dies.
//! 3. They are listed, each by the owner of its partition, and the request is answered when all of them are. What is left when the process is
//!    killed in the middle, or an owner is away, is listed by it or by another process for operators as soon as there is one.

mod file;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::commodities::{due_listings, skus, terms};
use super::csv::{Lines, defused};
use super::note;
use crate::domain::{CommodityId, Sku, Timestamp};
use crate::engine::Refusal;
use crate::http::commodities::is_listed;
use crate::http::key::{GivenKey, KeyHeader};
use crate::http::problem::{Fault, Problem};
use crate::http::schema::problems;
use crate::http::{AppState, CsvBody, Id, Operator, RequestId};
use crate::partition::Busy;
use crate::store::{Drawn, DueListing, Import};
use file::{COLUMNS, Faults};

/// How long a request waits until all of its commodities are listed.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to look again at an import that goes on.
const RETRY_SECONDS: &str = "1";
/// Files that are read at the same time.
static READ_AT_A_TIME: Semaphore = Semaphore::const_new(2);
/// Files whose numbers are being claimed: that may wait for the owners of those who have them.
static CLAIMED_AT_A_TIME: Semaphore = Semaphore::const_new(8);
/// Files whose commodities are being listed while their request waits: that may wait for an owner who is away. Where as many wait, others are
/// answered at once, and listed all the same.
static LISTED_AT_A_TIME: Semaphore = Semaphore::const_new(8);
/// Commodities one step of an export writes.
const EXPORT_STEP: usize = 500;

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Import)]
pub(crate) struct ImportBody {
    /// The id of its first commodity. Those of the others follow, in the order of the file.
    import_id: CommodityId,
    status: ImportStatus,
    /// How many commodities there are.
    #[schema(minimum = 1, maximum = 10_000)]
    commodities: u32,
    /// Of those, how many are listed.
    #[schema(minimum = 0, maximum = 10_000)]
    listed: u32,
    first_id: CommodityId,
    last_id: CommodityId,
    created_at: Timestamp,
}

/// Whether all commodities of a file are listed.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImportStatus {
    /// Not yet. All of them will be.
    Listing,
    /// All of them are.
    Listed,
}

impl From<Import> for ImportBody {
    fn from(import: Import) -> Self {
        let last = import.first.get() + i64::from(import.commodities) - 1;
        Self {
            import_id: import.first,
            status: if import.listed == import.commodities { ImportStatus::Listed } else { ImportStatus::Listing },
            commodities: import.commodities,
            listed: import.listed,
            first_id: import.first,
            last_id: CommodityId::new(last).unwrap_or(import.first),
            created_at: import.created_at,
        }
    }
}

/// List the commodities of a CSV file, all of them or none.
///
/// UTF-8, with or without a mark that says so, lines ended by CRLF or LF, fields quoted as in RFC 4180; at most 10,000 commodities and 10 MiB,
/// whatever `http.body_bytes_max` is. The first line names the columns, in any order: `name`, `price`, `currency`, `total`, `starts_at`, `ends_at`,
/// and, where wanted, `sku`, `description`, `image_url`, `limit_per_user`, `hold_seconds`, `grace_seconds`, `cancellation`. They mean what they mean in a new
/// commodity; an empty cell is a field that was left out. An apostrophe before a text that a spreadsheet would take for a formula is left out, as an export puts it there. Of
/// a file with faults nothing is listed, and `errors` has each of them with its `line`, the first 100 if there are more.
///
/// `201`: all are listed. `202`: all will be, whatever happens; see `Location`. After a crash in the middle some may be listed a while before the
/// others, and none is left out.
#[utoipa::path(post, path = "/admin/v1/commodities/import", operation_id = "import_commodities", tag = "operators: commodities",
    params(KeyHeader),
    request_body(content = String, content_type = "text/csv", description = "The file",
        example = json!("sku,name,price,currency,total,starts_at,ends_at\nKB-75,\"Keyboard, 75 %\",4999,EUR,100,2026-11-27T12:00:00Z,2026-11-28T12:00:00Z\n")),
    responses(
        (status = 201, description = "All are listed", body = ImportBody, headers(("Location" = String, description = "The import"))),
        (status = 200, description = "All are listed; the file was taken before, under the same key", body = ImportBody,
            headers(("Location" = String, description = "The import"))),
        (status = 202, description = "All will be listed", body = ImportBody,
            headers(("Location" = String, description = "The import"), ("Retry-After" = u32, description = "Seconds to wait"))),
        ImportProblems))]
pub(crate) async fn import(
    state: web::Data<AppState>,
    operator: Operator,
    key: GivenKey,
    request: RequestId,
    body: CsvBody,
) -> Result<HttpResponse, Problem> {
    // Each is kept for as long as it is needed: an owner that is away would keep them for long.
    let claiming = CLAIMED_AT_A_TIME.try_acquire().map_err(|_| Busy::Overloaded)?;
    let reading = READ_AT_A_TIME.try_acquire().map_err(|_| Busy::Overloaded)?;
    let file = tokio::task::spawn_blocking(move || file::read(&body.0)).await;
    let (rows, mut faults) = file.map_err(|failed| Problem::Internal(format!("a file could not be read: {failed}")))??;
    drop(reading);
    let skus: Vec<Sku> = rows.iter().filter_map(|row| row.terms.sku.clone()).collect();
    let lines: BTreeMap<Sku, u64> = rows.iter().filter_map(|row| Some((row.terms.sku.clone()?, row.line))).collect();
    let add_taken = |sku: &Sku, faults: &mut Faults| {
        faults.add(Fault::new("sku", "another commodity has it").in_line(lines.get(sku).copied().unwrap_or_default()));
    };
    if !faults.is_empty() {
        // Whatever else is wrong, so that one round is enough to mend it.
        for claim in skus::that_count(&state, &skus).await? {
            add_taken(&claim.sku, &mut faults);
        }
    }
    faults.none()?;
    let count = u32::try_from(rows.len()).map_err(|_| Problem::Internal("a file of too many commodities".into()))?;
    // What the file means, not its letters.
    let asked: Vec<_> = rows.iter().map(|row| terms::asked(&row.terms, row.total)).collect();
    let (first, is_new) = match key.operation(&operator.0.principal, &("import", asked)) {
        None => (state.store.next_commodity_ids(count).await?, true),
        // Whoever repeats the request goes on with the same ids.
        Some(operation) => match state.store.commodity_ids_under_key(operation, count, (state.clock)()).await? {
            Drawn::New(first) => (first, true),
            Drawn::Before(first) => (first, false),
            Drawn::Mismatch => return Err(Refusal::IdempotencyMismatch.into()),
        },
    };
    note(&operator.0, &request, "import commodities", format_args!("{first} and {} more", count - 1));
    let now = (state.clock)();
    let offers = rows.into_iter().map(|row| (row.terms, row.total)).collect();
    let before = if is_new { None } else { state.store.import(first).await? };
    let due = match &before {
        // Written down before, under the same key: what is not listed yet is listed now.
        Some(_) => DueListing::with_ids_from(first, offers),
        None => match skus::reserve(&state, first, offers, Some(now)).await? {
            Ok(due) => due,
            Err(claims) => {
                let mut faults = Faults::default();
                claims.iter().for_each(|claim| add_taken(&claim.sku, &mut faults));
                return Err(faults.none().err().unwrap_or_else(|| Problem::Internal("nobody's claim is in the way".into())));
            }
        },
    };
    drop(claiming);
    let left = match LISTED_AT_A_TIME.try_acquire() {
        Ok(listing) => listed(&state, first, due, listing).await?,
        Err(_) => left_of(&state, first, count).await?,
    };
    let created_at = before.map_or(now, |import| import.created_at);
    let import = Import { first, commodities: count, listed: count - left, created_at };
    let mut response = match (left, before) {
        (0, None) => HttpResponse::Created(),
        (0, Some(_)) => HttpResponse::Ok(),
        _ => HttpResponse::Accepted(),
    };
    Ok(answered(&mut response, import))
}

/// Lists them, and waits for it a while; how many are left then. Whether this request is waited for or not: if it is not, others list what
/// is left.
async fn listed(state: &AppState, first: CommodityId, due: Vec<DueListing>, listing: SemaphorePermit<'static>) -> Result<u32, Problem> {
    let count = u32::try_from(due.len()).unwrap_or(u32::MAX);
    let (router, store) = (Arc::clone(&state.router), state.store.clone());
    let listing = tokio::spawn(async move {
        let _listing = listing;
        due_listings::list_all(&router, &store, due, PATIENCE).await
    });
    match timeout(PATIENCE, listing).await {
        Ok(Ok(Ok(left))) => Ok(u32::try_from(left.len()).unwrap_or(count)),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "import {first} goes on later");
            Ok(count)
        }
        // It goes on: an owner may be away.
        Err(_) | Ok(Err(_)) => left_of(state, first, count).await,
    }
}

/// How many of an import of so many are not listed yet, as the tables have it.
async fn left_of(state: &AppState, first: CommodityId, count: u32) -> Result<u32, Problem> {
    Ok(count - state.store.import(first).await?.map_or(0, |import| import.listed.min(count)))
}

problems!(ImportProblems: IdempotencyMismatch, UpgradeUnfinished, Unavailable, Overloaded);

/// What became of a file.
#[utoipa::path(get, path = "/admin/v1/commodities/imports/{id}", operation_id = "read_import", tag = "operators: commodities",
    params(("id" = CommodityId, Path, description = "The import")),
    responses((status = 200, description = "The import", body = ImportBody), ReadProblems))]
pub(crate) async fn read(state: web::Data<AppState>, _operator: Operator, id: Id<CommodityId>) -> Result<HttpResponse, Problem> {
    let import = state.store.import(id.0).await?.ok_or(Problem::NotFound)?;
    Ok(answered(&mut HttpResponse::Ok(), import))
}

problems!(ReadProblems: Unavailable);

fn answered(response: &mut HttpResponseBuilder, import: Import) -> HttpResponse {
    response.insert_header((header::LOCATION, format!("/admin/v1/commodities/imports/{}", import.first)));
    if import.listed < import.commodities {
        response.insert_header((header::RETRY_AFTER, RETRY_SECONDS));
    }
    response.json(ImportBody::from(import))
}

/// Commodities as CSV, by id, without a limit and without closed ones: a file that an import takes.
#[utoipa::path(get, path = "/admin/v1/commodities.csv", operation_id = "export_commodities", tag = "operators: commodities",
    responses((status = 200, description = "RFC 4180 in UTF-8 with a mark that says so, and a header line", body = String, content_type = "text/csv")))]
pub(crate) async fn export(state: web::Data<AppState>, operator: Operator, request: RequestId) -> Result<HttpResponse, Problem> {
    note(&operator.0, &request, "export commodities", "as csv");
    let chunks = stream::unfold((state, Some(None)), |(state, next)| async move {
        let (bytes, next) = chunk(&state, next?);
        Some((Ok::<_, Problem>(web::Bytes::from(bytes)), (state, next)))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"commodities.csv\""))
        .streaming(chunks))
}

/// The lines of the commodities behind `after`, and where those after them begin; none at the end.
fn chunk(state: &AppState, after: Option<CommodityId>) -> (Vec<u8>, Option<Option<CommodityId>>) {
    let now = (state.clock)();
    let mut lines = if after.is_none() { Lines::with_names(COLUMNS) } else { Lines::more() };
    let mut last = None;
    let mut looked_at = 0;
    for listing in state.router.board().walk(after).take(EXPORT_STEP) {
        (last, looked_at) = (Some(listing.id), looked_at + 1);
        if is_listed(listing.state(now)) {
            lines.write(file::cells(&listing.terms, listing.stock.total).map(|cell| defused(&cell).into_owned().into()));
        }
    }
    (lines.into_bytes(), last.filter(|_| looked_at == EXPORT_STEP).map(Some))
}

#[cfg(test)]
mod tests;
