//! The consumer's own small listener: `/metrics`, `/healthz`, `/readyz`. It never takes orders.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;

use super::Status;
use crate::single_flight::{Share, SingleFlight};

type Scrapes = SingleFlight<(), Bytes>;

pub(super) fn start(listener: TcpListener, metrics: PrometheusHandle, status: Arc<Status>) -> std::io::Result<Server> {
    // As in the other processes: whoever asks in a loop does not wear it out.
    let scrapes = web::Data::new(Scrapes::new(Share { rest: 9, rest_max: Duration::from_secs(1), waiting_max: 256 }));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(metrics.clone()))
            .app_data(scrapes.clone())
            .app_data(web::Data::from(Arc::clone(&status)))
            .route("/metrics", web::get().to(render))
            .route("/healthz", web::get().to(async || HttpResponse::Ok().body("ok\n")))
            .route("/readyz", web::get().to(readiness))
    });
    // One scrape and one probe at a time: no need for a worker a core. Signals are the process's affair.
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

async fn render(metrics: web::Data<PrometheusHandle>, scrapes: web::Data<Scrapes>) -> HttpResponse {
    let metrics = metrics.into_inner();
    match scrapes.run((), move || std::future::ready(Bytes::from(metrics.render()))).await {
        Ok(text) => HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text),
        Err(_) => HttpResponse::ServiceUnavailable().insert_header((header::RETRY_AFTER, "1")).finish(),
    }
}

async fn readiness(status: web::Data<Status>) -> HttpResponse {
    let health = status.health();
    if health.ready { HttpResponse::Ok().json(health) } else { HttpResponse::ServiceUnavailable().json(health) }
}
