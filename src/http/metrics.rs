//! What the HTTP layer measures, and `/metrics`. Labels are route patterns, methods, statuses and codes of closed sets,
//! never what a client sent: the number of series is bounded. Recording looks nothing up and allocates nothing.

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};

use super::problem::{Code, Problem};
use super::state::AppState;

/// Commodities `/metrics` shows the stock of, at most; those with the lowest ids.
const COMMODITIES_MAX: usize = 1_000;

fn describe() {
    metrics::describe_counter!("doorbuster_http_requests_total", "Requests answered, by route, method and status");
    metrics::describe_histogram!("doorbuster_http_request_duration_seconds", "From a request's head to its answer's, by route");
    metrics::describe_counter!("doorbuster_orders_accepted_total", "Orders answered with 201");
    metrics::describe_counter!("doorbuster_refusals_total", "Problems answered, by code");
}

const METHODS: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE, Method::PUT];
const STATUSES: [u16; 20] = [200, 201, 202, 204, 301, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 500, 503];

/// The meters of one route.
pub(crate) struct RouteMeters {
    pattern: &'static str,
    latency: Histogram,
    counters: [OnceLock<Counter>; (METHODS.len() + 1) * (STATUSES.len() + 1)],
}

impl RouteMeters {
    pub(crate) fn of(pattern: &'static str) -> Self {
        let latency = histogram!("doorbuster_http_request_duration_seconds", "route" => pattern);
        Self { pattern, latency, counters: [const { OnceLock::new() }; _] }
    }

    pub(crate) fn record(&self, method: &Method, status: StatusCode, took: Duration) {
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let status = STATUSES.binary_search(&status.as_u16()).unwrap_or(STATUSES.len());
        let counter = self.counters[method * (STATUSES.len() + 1) + status].get_or_init(|| {
            let method = METHODS.get(method).map_or("other", |method| static_name(method));
            let status = STATUSES.get(status).map_or_else(|| "other".to_owned(), u16::to_string);
            counter!("doorbuster_http_requests_total", "route" => self.pattern, "method" => method, "status" => status)
        });
        counter.increment(1);
        self.latency.record(took);
    }

    pub(crate) fn pattern(&self) -> &'static str {
        self.pattern
    }
}

fn static_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "PUT",
    }
}

/// The meters that are not of one route.
pub(crate) struct Meters {
    accepted: Counter,
    refusals: Vec<Counter>,
    pub(crate) unmatched: RouteMeters,
}

impl Meters {
    /// The process's. The recorder must be there before: the state holds its handle, so it is.
    pub(crate) fn get() -> &'static Self {
        static METERS: OnceLock<Meters> = OnceLock::new();
        METERS.get_or_init(|| {
            describe();
            Self {
                accepted: counter!("doorbuster_orders_accepted_total"),
                refusals: Code::ALL.iter().map(|code| counter!("doorbuster_refusals_total", "code" => code.word())).collect(),
                unmatched: RouteMeters::of("unmatched"),
            }
        })
    }

    pub(crate) fn accepted(&self) {
        self.accepted.increment(1);
    }

    pub(crate) fn refused(&self, code: Code) {
        self.refusals[code as usize].increment(1);
    }
}

/// The meters in Prometheus' text format.
///
/// How many units there are of each commodity is told by the operators' process; elsewhere only where `http.stock_in_metrics` is set. The
/// text is made once at a time, for all who wait, and takes a tenth of the time of one core at most.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String)))]
pub(crate) async fn show(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    let with_stock = state.config.stock_in_metrics;
    rendered(state, with_stock).await
}

/// As [`show`], with the stock of each commodity.
pub(crate) async fn show_with_stock(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    rendered(state, true).await
}

async fn rendered(state: web::Data<AppState>, with_stock: bool) -> Result<HttpResponse, Problem> {
    let shown = state.clone().into_inner();
    let text = state.costly.scrapes.run(with_stock, move || std::future::ready(text(&shown, with_stock))).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

fn text(state: &AppState, with_stock: bool) -> Bytes {
    let mut text = state.prometheus.render();
    node(state, &mut text);
    if with_stock {
        stock(state, &mut text);
    }
    inboxes(state, &mut text);
    text.into()
}

/// Which node of a cluster this is: several look alike behind one address.
fn node(state: &AppState, text: &mut String) {
    let Some(cluster) = &state.cluster else { return };
    text.push_str("# HELP doorbuster_node_info Always 1; the labels say who this is\n# TYPE doorbuster_node_info gauge\n");
    let _ = writeln!(text, "doorbuster_node_info{{node=\"{}\",version=\"{}\"}} 1", cluster.local.id, env!("CARGO_PKG_VERSION"));
}

/// The stock gauges, straight from the board, so that a removed commodity leaves no series behind.
fn stock(state: &AppState, text: &mut String) {
    text.push_str("# HELP doorbuster_commodity_units Units of a commodity, by where they are\n# TYPE doorbuster_commodity_units gauge\n");
    for listing in state.router.board().walk(None).take(COMMODITIES_MAX) {
        let stock = &listing.stock;
        for (kind, units) in [("total", stock.total), ("available", stock.available), ("held", stock.held), ("sold", stock.sold)] {
            let _ = writeln!(text, "doorbuster_commodity_units{{commodity=\"{}\",units=\"{kind}\"}} {}", listing.id, units.get());
        }
    }
}

/// How full the inboxes are, asked now: a task that waits for a slow commit could not say.
fn inboxes(state: &AppState, text: &mut String) {
    text.push_str("# HELP doorbuster_inbox_depth Requests waiting on the way to a partition\n# TYPE doorbuster_inbox_depth gauge\n");
    for (partition, depth) in state.router.inbox_depths() {
        let _ = writeln!(text, "doorbuster_inbox_depth{{partition=\"{partition}\"}} {depth}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_and_cover_every_code() {
        assert!(STATUSES.is_sorted());
        for code in Code::ALL {
            assert!(STATUSES.binary_search(&code.status().as_u16()).is_ok(), "{code:?}");
        }
        assert!(Code::ALL.iter().enumerate().all(|(at, code)| *code as usize == at));
    }

    #[test]
    fn a_foreign_method_and_a_foreign_status_share_one_series() {
        let handle = crate::telemetry::install_metrics().unwrap();
        let meters = RouteMeters::of("/test/bounded");
        for method in ["BREW", "SIP"] {
            meters.record(&Method::from_bytes(method.as_bytes()).unwrap(), StatusCode::IM_A_TEAPOT, Duration::from_millis(1));
        }
        let line = "doorbuster_http_requests_total{route=\"/test/bounded\",method=\"other\",status=\"other\"} 2";
        assert!(handle.render().contains(line), "{}", handle.render());
    }
}
