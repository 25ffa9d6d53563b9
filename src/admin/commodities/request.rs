//! What every change of a commodity comes with, and what becomes of the command it leads to. Never decides: the commodity's owner does.

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;

use super::bodies::{OperatorCommodityBody, PendingChange};
use crate::admin::note;
use crate::domain::{Commodity, CommodityId, Operation};
use crate::engine::{Answer, Command, Refusal};
use crate::http::etag::{self, Expected};
use crate::http::key::{GivenKey, under};
use crate::http::orders::unexpected;
use crate::http::problem::Problem;
use crate::http::{AppState, Id, Operator, RequestId};
use crate::routing::Reply;

/// When to look again after a change whose outcome is not known yet, in seconds.
const PENDING_RETRY_SECONDS: &str = "1";

/// A version that no commodity ever is of: the first one is 1.
const NO_VERSION: u32 = 0;

/// A request to change the commodity in the path, from somebody who may.
pub(crate) struct ChangeRequest {
    pub(super) state: web::Data<AppState>,
    pub(super) operator: Operator,
    pub(super) id: CommodityId,
    pub(super) expected: Expected,
    pub(super) key: GivenKey,
    pub(super) request: RequestId,
}

impl FromRequest for ChangeRequest {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let operator = Operator::from_request(request, payload);
        let rest = Self::read(request, payload);
        Box::pin(async move {
            let operator = operator.await?;
            rest.map(|rest| rest(operator))
        })
    }
}

impl ChangeRequest {
    /// All of it but for who asks.
    fn read(request: &HttpRequest, payload: &mut Payload) -> Result<impl FnOnce(Operator) -> Self + use<>, Problem> {
        let state = request.app_data::<web::Data<AppState>>().expect("the state is part of the app").clone();
        let Id(id) = Id::<CommodityId>::from_request(request, payload).into_inner()?;
        let expected = Expected::from_request(request, payload).into_inner()?;
        let key = GivenKey::from_request(request, payload).into_inner()?;
        let request = RequestId::from_request(request, payload).into_inner()?;
        Ok(move |operator| Self { state, operator, id, expected, key, request })
    }

    /// Writes down who asks for what, and has it done.
    pub(super) async fn ask(self, what: &str, command: impl FnOnce(CommodityId) -> Command) -> Result<HttpResponse, Problem> {
        note(&self.operator.0, &self.request, what, self.id);
        let command = command(self.id);
        outcome(&self.state, self.id, expecting(&self.state, self.id, self.expected, None, command).await)
    }

    /// The same, once under a key. The same request has the same `asked`.
    pub(super) async fn ask_once(
        self,
        what: &str,
        asked: &impl Serialize,
        command: impl FnOnce(CommodityId) -> Command,
    ) -> Result<HttpResponse, Problem> {
        note(&self.operator.0, &self.request, what, self.id);
        let operation = self.key.operation(&self.operator.0.principal, asked);
        let command = command(self.id);
        outcome(&self.state, self.id, expecting(&self.state, self.id, self.expected, operation, command).await)
    }
}

/// Sends a command to the commodity's owner, who decides in one step whether it is of an expected version and what becomes of it.
///
/// One of several versions is asked for after the other, in rising order: versions only grow, so that none that was there all the time is
/// missed. Under a key that was used before the answer is what was done then, whatever the version is now.
pub(super) async fn expecting(
    state: &AppState,
    id: CommodityId,
    expected: Expected,
    operation: Option<Operation>,
    command: Command,
) -> Reply {
    let mut versions = match expected {
        Expected::Any => return state.router.about_commodity(id, under(operation, command)).await,
        Expected::OneOf(versions) => versions,
    };
    if versions.is_empty() && operation.is_some() {
        // None that ever was: its key may have been used before all the same.
        versions.push(NO_VERSION);
    }
    for version in versions {
        let expecting = Command::Expecting { version, command: Box::new(command.clone()) };
        match state.router.about_commodity(id, under(operation, expecting)).await {
            Reply::Refused(Refusal::VersionMismatch) => {}
            reply => return reply,
        }
    }
    Reply::Refused(Refusal::VersionMismatch)
}

/// The answer to what a command came to.
pub(super) fn outcome(state: &AppState, id: CommodityId, reply: Reply) -> Result<HttpResponse, Problem> {
    match reply {
        Reply::Done(Answer::Commodity(commodity) | Answer::DoneBefore(_, Some(commodity))) => {
            Ok(shown(state, HttpResponse::Ok(), &commodity))
        }
        Reply::Done(Answer::Removed) => Ok(HttpResponse::NoContent().finish()),
        Reply::Done(other) => Err(unexpected(&other)),
        Reply::Refused(refusal) => Err(refusal.into()),
        Reply::Pending(_) => Ok(HttpResponse::Accepted()
            .insert_header((header::RETRY_AFTER, PENDING_RETRY_SECONDS))
            .insert_header((header::LOCATION, location(id)))
            .json(PendingChange::of(id))),
        Reply::Busy(busy) => Err(busy.into()),
    }
}

/// The answer to what a command to list came to.
pub(super) fn created(state: &AppState, id: CommodityId, reply: Reply) -> Result<HttpResponse, Problem> {
    match reply {
        Reply::Done(Answer::Commodity(commodity)) => {
            let mut response = HttpResponse::Created();
            response.insert_header((header::LOCATION, location(id)));
            Ok(shown(state, response, &commodity))
        }
        other => outcome(state, id, other),
    }
}

/// The commodity, with its version.
pub(super) fn shown(state: &AppState, mut response: HttpResponseBuilder, commodity: &Commodity) -> HttpResponse {
    response.insert_header((header::ETAG, etag::version_tag(commodity.version)));
    response.json(OperatorCommodityBody::of(commodity, (state.clock)()))
}

fn location(id: CommodityId) -> String {
    format!("/admin/v1/commodities/{id}")
}
