//! A process's HTTP server: which of the two APIs it offers on a listener, and their documentation. It only puts together: handlers are
//! [`http`](crate::http)'s and [`admin`]'s.

mod docs;
mod openapi;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::Method;
use actix_web::middleware::{Condition, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::admin;
use crate::config::Accounts;
use crate::http::problem::Problem;
use crate::http::routes::{Traffic, compressed, get, on, resource};
use crate::http::{AppState, accounts, commodities, cors, health, metrics, middleware, orders, payments, timeline};
use crate::sandbox;

/// Which of the APIs a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The buyers' calls.
    Buyers,
    /// The operators' calls.
    Operators,
    /// Both, on one port.
    Both,
}

/// A server on that listener. It is stopped from outside, by its handle, and takes no signals: `stop(true)` answers what is
/// in flight, for at most `http.shutdown_timeout_ms`.
///
/// # Errors
/// What the operating system says about the listener.
pub fn serve(listener: TcpListener, state: web::Data<AppState>, surface: Surface) -> std::io::Result<Server> {
    let config = state.config.clone();
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let connections = Arc::clone(&state.connections);
    let factory = move || {
        let (accounts, sandbox) = (state.accounts, state.sandbox.clone().map(web::Data::from));
        App::new()
            .app_data(state.clone())
            .wrap(from_fn(middleware::serve))
            .wrap(Condition::new(!state.config.cors_origins.is_empty(), cors::cors(&state.config.cors_origins)))
            .configure(|routes| configure(routes, surface, accounts))
            .configure(|routes| {
                if let Some(sandbox) = &sandbox {
                    sandbox::routes(routes, sandbox);
                }
            })
            .default_service(web::to(|| std::future::ready(Err::<HttpResponse, _>(Problem::NotFound))))
    };
    let server = HttpServer::new(factory)
        .on_connect(move |stream, extensions| connections.take(stream, extensions))
        .workers(workers)
        .max_connections(config.connections_max.div_ceil(workers))
        .keep_alive(Duration::from_millis(config.keep_alive_ms))
        .client_request_timeout(Duration::from_millis(config.client_request_timeout_ms))
        .shutdown_timeout(config.shutdown_timeout_ms.div_ceil(1_000))
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

fn configure(routes: &mut web::ServiceConfig, surface: Surface, accounts: Accounts) {
    match surface {
        Surface::Buyers => buyers(routes, accounts),
        Surface::Operators => {
            sessions(routes, accounts);
            admin::operators(routes);
        }
        Surface::Both => {
            buyers(routes, accounts);
            admin::operators(routes);
        }
    }
    probes(routes, surface);
    docs::docs(routes, surface);
}

/// The buyers' calls. The busiest route comes first: routes are tried in order.
fn buyers(routes: &mut web::ServiceConfig, accounts: Accounts) {
    routes
        .service(resource("/v1/commodities/{id}/orders", Traffic::Hot, vec![on(Method::POST, orders::place)]))
        .service(compressed(resource("/v1/commodities", Traffic::Ordinary, vec![get(commodities::list)])))
        .service(compressed(resource("/v1/commodities/{id}", Traffic::Ordinary, vec![get(commodities::read)])))
        .service(compressed(resource("/v1/orders", Traffic::Ordinary, vec![get(orders::list)])))
        .service(resource("/v1/orders/{id}", Traffic::Ordinary, vec![get(orders::read)]))
        .service(resource("/v1/orders/{id}/timeline", Traffic::Ordinary, vec![get(timeline::read)]))
        .service(resource("/v1/orders/{id}/cancel", Traffic::Ordinary, vec![on(Method::POST, orders::cancel)]))
        .service(resource("/v1/orders/{id}/payments", Traffic::Ordinary, vec![get(payments::list), on(Method::POST, payments::start)]))
        .service(resource("/v1/payments/webhooks/{provider}", Traffic::Ordinary, vec![on(Method::POST, payments::webhook)]));
    if accounts.registration {
        routes.service(resource("/v1/auth/register", Traffic::Ordinary, vec![on(Method::POST, accounts::register)]));
    }
    sessions(routes, accounts);
}

/// Logging in: for the buyers, and for the operators' page where that is served by a process of its own.
fn sessions(routes: &mut web::ServiceConfig, accounts: Accounts) {
    if accounts.login {
        routes.service(resource("/v1/auth/login", Traffic::Ordinary, vec![on(Method::POST, accounts::login)])).service(resource(
            "/v1/auth/password",
            Traffic::Ordinary,
            vec![on(Method::POST, accounts::change_password)],
        ));
    }
    routes.service(resource("/v1/me", Traffic::Ordinary, vec![get(accounts::me)]));
}

/// What machines ask about this process.
fn probes(routes: &mut web::ServiceConfig, surface: Surface) {
    let metrics = match surface {
        Surface::Operators => get(metrics::show_with_stock),
        Surface::Buyers | Surface::Both => get(metrics::show),
    };
    routes
        .service(resource("/healthz", Traffic::Probe, vec![get(health::alive)]))
        .service(resource("/readyz", Traffic::Probe, vec![get(health::ready)]))
        .service(resource("/metrics", Traffic::Probe, vec![metrics]));
}
