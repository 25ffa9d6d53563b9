//! How a route is put together: its methods, the answer to other methods, its meters. Never knows what a handler does.

use actix_web::body::MessageBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, AcceptEncoding, Encoding, Header, HeaderValue};
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, Route, guard, web};

use super::metrics::RouteMeters;
use super::problem::Problem;

/// How much a route is asked, which decides what the access log says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Logged each time.
    Ordinary,
    /// A sample is logged.
    Hot,
    /// Never logged.
    Probe,
}

/// A method of a route with its handler.
pub(crate) struct Operation {
    method: Method,
    route: Route,
}

/// Answers GET, and HEAD with the same head and no body.
pub(crate) fn get<F, Args>(handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation { method: Method::GET, route: web::route().guard(guard::Any(guard::Get()).or(guard::Head())).to(handler) }
}

/// Answers that method.
pub(crate) fn on<F, Args>(method: Method, handler: F) -> Operation
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    Operation { route: web::method(method.clone()).to(handler), method }
}

/// A route that takes these methods and answers 405 with `Allow` to all others.
pub(crate) fn resource(pattern: &'static str, traffic: Traffic, operations: Vec<Operation>) -> Resource {
    let allow: Vec<&str> = operations.iter().flat_map(|operation| allowed(&operation.method)).copied().collect();
    let allow = HeaderValue::try_from(allow.join(", ")).expect("methods are fit for a header");
    let other_methods = move || std::future::ready(Err::<HttpResponse, _>(Problem::MethodNotAllowed(allow.clone())));
    let resource = web::resource(pattern).app_data(RouteMeters::of(pattern)).app_data(traffic).default_service(web::to(other_methods));
    operations.into_iter().fold(resource, |resource, operation| resource.route(operation.route))
}

/// A route whose answers are long: they are compressed for whoever takes them so.
pub(crate) fn compressed(resource: Resource) -> impl HttpServiceFactory {
    resource.wrap(Compress::default()).wrap(from_fn(as_it_is_rather_than_not_at_all))
}

/// Whoever takes an answer in no form there is gets it as it is, which HTTP leaves to the server.
async fn as_it_is_rather_than_not_at_all<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let forms = [Encoding::gzip(), Encoding::deflate(), Encoding::identity()];
    if AcceptEncoding::parse(&request).is_ok_and(|accepted| accepted.negotiate(forms.iter()).is_none()) {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    next.call(request).await
}

fn allowed(method: &Method) -> &'static [&'static str] {
    match *method {
        Method::GET => &["GET", "HEAD"],
        Method::POST => &["POST"],
        Method::PATCH => &["PATCH"],
        Method::PUT => &["PUT"],
        Method::DELETE => &["DELETE"],
        _ => &[],
    }
}
