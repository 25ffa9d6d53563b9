//! What every request passes: its id, the client's address and rate limit, the answer's common headers, the rendering of
//! problems, the meters, the access log, the span of a traced request. Never a span of one that is not traced, and on the
//! order route one log line in many.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, HttpResponse, web};

use super::client_address::{ClientAddress, client_address};
use super::metrics::{Meters, RouteMeters};
use super::problem::{Code, Problem};
use super::request_id::RequestId;
use super::routes::Traffic;
use super::state::AppState;
use super::traces;

/// Of the requests of a hot route, one in so many is logged.
const HOT_ROUTE_LOG_EVERY: u64 = 1_024;

/// Paths of no interest in the access log: machines ask them all the time.
const PROBES: [&str; 3] = ["/healthz", "/readyz", METRICS];

/// Where payment providers tell what happened.
const WEBHOOKS: &str = "/v1/payments/webhooks/";

/// The one of them that costs something: it is limited like everything else.
const METRICS: &str = "/metrics";

pub(crate) async fn serve(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let started = Instant::now();
    let state = request.app_data::<web::Data<AppState>>().expect("the state is part of every app").clone();
    let id = state.request_ids.of(request.headers());
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let client = client_address(peer, request.headers(), &state.config.trusted_proxies);
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(client);
    let is_probe = PROBES.contains(&request.path());
    let is_traced = !is_probe && traces::begin(&state.tracer, &request);
    // Whoever brings a signature that is good comes from few addresses, and all at once; who brings another is counted where that is seen.
    let is_free = is_probe && request.path() != METRICS || request.path().starts_with(WEBHOOKS);
    let admitted = if is_free { Ok(()) } else { state.limiter.check_address(client.0) };
    let response = match admitted {
        Ok(()) => next.call(request).await?,
        Err(limited) => request.error_response(Problem::from(limited)),
    };
    let is_leaving = state.connections.are_leaving();
    let (mut response, route) = finished(response, (&id, client), started, is_leaving);
    if is_leaving {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if is_traced {
        traces::end(&response, route, &id);
    }
    Ok(response)
}

fn finished(
    response: ServiceResponse<BoxBody>,
    (id, client): (&RequestId, ClientAddress),
    started: Instant,
    is_leaving: bool,
) -> (ServiceResponse<BoxBody>, &'static str) {
    let mut code = None;
    let mut response = match rendered(&response, id, is_leaving) {
        Some((problem_code, problem)) => {
            code = Some(problem_code);
            ServiceResponse::new(response.into_parts().0, problem)
        }
        None => response,
    };
    add_headers(response.headers_mut(), id);
    let request = response.request();
    let meters = Meters::get();
    let route = request.app_data::<RouteMeters>().unwrap_or(&meters.unmatched);
    let (method, status, took) = (request.method(), response.status(), started.elapsed());
    route.record(method, status, took);
    if let Some(code) = code {
        meters.refused(code);
    }
    let traffic = request.app_data::<Traffic>().copied().unwrap_or(Traffic::Ordinary);
    let pattern = route.pattern();
    log(&Access { method, route: pattern, status, code, took, id, client }, traffic);
    (response, pattern)
}

/// The problem an error response stands for, as the client gets it; its cause goes to the log here, once.
fn rendered(response: &ServiceResponse<BoxBody>, id: &RequestId, is_leaving: bool) -> Option<(Code, HttpResponse)> {
    let error = response.response().error()?;
    let foreign;
    let problem = match error.as_error::<Problem>() {
        Some(problem) => problem,
        None => {
            foreign = foreign_problem(response.status(), error);
            &foreign
        }
    };
    if let Some(cause) = problem.cause() {
        let (method, path) = (response.request().method(), response.request().path());
        tracing::error!(request_id = id.as_str(), %method, path, code = problem.code().word(), cause, "request {} failed", id.as_str());
    }
    Some((problem.code(), problem.respond(id.as_str(), is_leaving)))
}

/// What the framework refused by itself.
fn foreign_problem(status: StatusCode, error: &actix_web::Error) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::NotFound,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::UnsupportedMediaType,
        StatusCode::REQUEST_TIMEOUT => Problem::RequestTimeout,
        status if status.is_client_error() => Problem::field("request", "could not be read"),
        _ => Problem::Internal(error.to_string()),
    }
}

fn add_headers(headers: &mut HeaderMap, id: &RequestId) {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    headers.insert(REQUEST_ID, id.header());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

struct Access<'a> {
    method: &'a Method,
    route: &'static str,
    status: StatusCode,
    code: Option<Code>,
    took: Duration,
    id: &'a RequestId,
    client: ClientAddress,
}

fn log(access: &Access<'_>, traffic: Traffic) {
    static HOT_REQUESTS: AtomicU64 = AtomicU64::new(0);
    match traffic {
        Traffic::Hot if !HOT_REQUESTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(HOT_ROUTE_LOG_EVERY) => {}
        Traffic::Hot | Traffic::Ordinary => write(access),
        Traffic::Probe => {}
    }
}

fn write(access: &Access<'_>) {
    tracing::info!(
        target: "doorbuster::access",
        request_id = access.id.as_str(),
        method = %access.method,
        route = access.route,
        status = access.status.as_u16(),
        code = access.code.map(Code::word),
        duration_ms = access.took.as_secs_f64() * 1_000.0,
        client = %access.client.0,
        "{} {} {}",
        access.method,
        access.route,
        access.status.as_u16(),
    );
}
