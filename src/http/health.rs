//! Whether the process lives, and whether it is fit for requests. Never claims to be ready while a part is away.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::problem::Problem;
use super::state::AppState;

/// How a process is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Health {
    /// `ok`; anything else is a problem document.
    #[schema(examples("ok"))]
    status: &'static str,
    /// What somebody should see to; left out if there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples(json!(["the clock of this machine is 60.0 s ahead of the database's"])))]
    warnings: Option<Vec<String>>,
}

impl Health {
    fn ok(warnings: Vec<String>) -> HttpResponse {
        HttpResponse::Ok().json(Self { status: "ok", warnings: Some(warnings).filter(|warnings| !warnings.is_empty()) })
    }
}

/// Whether the process lives.
///
/// Says nothing about what it depends on: restarting the process would not bring that back.
#[utoipa::path(get, path = "/healthz", operation_id = "alive", tag = "health", security(()),
    responses((status = 200, description = "It does", body = Health)))]
pub(crate) async fn alive() -> HttpResponse {
    Health::ok(Vec::new())
}

/// Whether requests can be served: every partition of this process is owned, and the database answers.
#[utoipa::path(get, path = "/readyz", operation_id = "ready", tag = "health", security(()),
    responses((status = 200, description = "They can", body = Health)))]
pub(crate) async fn ready(state: web::Data<AppState>) -> Result<HttpResponse, Problem> {
    if state.store.check_file().is_err() {
        // The log has its name.
        return Err(Problem::NotReady("The file of the database was deleted or replaced, and nothing is accepted".to_owned()));
    }
    if !state.router.ready() {
        let why = match state.router.trouble() {
            // No more than this: whoever may read the log finds the details there.
            Some((partition, trouble)) => format!("Partition {partition} is stopped: {trouble}"),
            None => "At least one partition is not served yet".to_owned(),
        };
        return Err(Problem::NotReady(why));
    }
    if state.router.outlives_database() {
        return Ok(Health::ok(warnings(&state)));
    }
    // No cause: this is asked every second, and whoever uses the database logs what is wrong with it.
    state.store.ping().await.map_err(|_| Problem::Unavailable { what: "The database", cause: None })?;
    Ok(Health::ok(warnings(&state)))
}

fn warnings(state: &AppState) -> Vec<String> {
    let own = [state.drift.warning(), state.authenticator.endings().warning()];
    own.into_iter().flatten().chain(state.authenticator.warnings()).collect()
}
