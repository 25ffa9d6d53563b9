//! The span of a traced request: it begins and ends around everything a request passes, and handlers find it with the request.
//! Never decides what is traced, and makes nothing for a request that is not.

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::{HttpMessage, HttpRequest};

use super::request_id::RequestId;
use crate::domain::OrderId;
use crate::routing::Traced;
use crate::trace::{ORDER_ID, Span, TRACEPARENT, Tracer};

/// Begins the trace of a request; whether it is traced.
pub(super) fn begin(tracer: &Tracer, request: &ServiceRequest) -> bool {
    let Some(span) = tracer.request(|| traceparent(request)) else { return false };
    request.extensions_mut().insert(span);
    true
}

/// Ends it with what was answered.
pub(super) fn end<B>(response: &ServiceResponse<B>, route: &'static str, id: &RequestId) {
    let request = response.request();
    let Some(mut span) = request.extensions_mut().remove::<Span>() else { return };
    let (method, status) = (request.method(), response.status());
    span.rename(format!("{method} {route}"));
    span.note_shown("http.request.method", method);
    span.note("http.route", route);
    span.note("http.response.status_code", i64::from(status.as_u16()));
    span.note_shown("doorbuster.request_id", id.as_str());
    if status.is_server_error() {
        span.fail(status.canonical_reason().unwrap_or_default());
    }
}

/// A command with the trace of the request that asks for it.
pub(super) fn traced(tracer: &Tracer, request: &HttpRequest, command: impl Into<Traced>) -> Traced {
    let mut traced = command.into();
    if tracer.is_on() {
        traced.trace = request.extensions().get::<Span>().map(Span::trace);
    }
    traced
}

/// Says in the request's span which order came of it.
pub(super) fn note_order(tracer: &Tracer, request: &HttpRequest, order: OrderId) {
    if tracer.is_on()
        && let Some(span) = request.extensions_mut().get_mut::<Span>()
    {
        span.note_shown(ORDER_ID, order);
    }
}

/// What the caller sent; two of them are none.
fn traceparent(request: &ServiceRequest) -> Option<&str> {
    let mut values = request.headers().get_all(TRACEPARENT);
    let first = values.next()?;
    values.next().is_none().then(|| first.to_str().ok())?
}
