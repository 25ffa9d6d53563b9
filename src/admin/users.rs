//! Accounts, for admins: list, read, change the role. Never shows a password hash.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use utoipa::ToSchema;

use super::note;
use crate::domain::UserId;
use crate::engine::Refusal;
use crate::event::LogVersion;
use crate::http::accounts::AccountBody;
use crate::http::fields::text;
use crate::http::problem::Problem;
use crate::http::schema::{PageParameters, problems};
use crate::http::{Admin, AppState, Body, Id, Page, PageRequest, Query, RequestId};
use crate::store::{Account, Role};

/// What changes about an account.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = UserChange)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChangeBody {
    #[schema(nullable = false)]
    #[serde(deserialize_with = "text")]
    role: Option<Role>,
}

/// Accounts, by id.
#[utoipa::path(get, path = "/admin/v1/users", operation_id = "list_users", tag = "operators: users",
    params(PageParameters<UserId>),
    responses((status = 200, description = "A page of accounts", body = Page<AccountBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _admin: Admin, mut query: Query) -> Result<HttpResponse, Problem> {
    let page = PageRequest::<UserId>::read(&mut query);
    query.finish()?;
    let found = state.store.accounts(page.after, page.limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(found, page.limit, |account| account.id, AccountBody::from)))
}

problems!(ListProblems: Unavailable);

/// One account.
#[utoipa::path(get, path = "/admin/v1/users/{id}", operation_id = "read_user", tag = "operators: users",
    params(("id" = UserId, Path, description = "The account")),
    responses((status = 200, description = "The account", body = AccountBody), ReadProblems))]
pub(crate) async fn read(state: web::Data<AppState>, _admin: Admin, id: Id<UserId>) -> Result<HttpResponse, Problem> {
    shown(state.store.account(id.0).await?)
}

problems!(ReadProblems: UserNotFound, Unavailable);

/// Change an account's role. Tokens that the account was given before end, on every node within a second.
///
/// `operator` and `service` can be given when an upgrade is finished: the release before knows neither.
#[utoipa::path(patch, path = "/admin/v1/users/{id}", operation_id = "change_user", tag = "operators: users",
    params(("id" = UserId, Path, description = "The account")),
    request_body = ChangeBody,
    responses((status = 200, description = "Changed", body = AccountBody), ChangeProblems))]
pub(crate) async fn change(
    state: web::Data<AppState>,
    admin: Admin,
    id: Id<UserId>,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields()?;
    let ChangeBody { role } = fields.read_into();
    fields.finish()?;
    if role.is_some_and(|role| admin.0.principal == id.0.into() && role != admin.0.role) {
        return Err(Problem::OwnRole);
    }
    if role.is_some_and(|role| !role.is_known_to_all()) && state.store.log_version().await? < LogVersion::NEWEST {
        return Err(Refusal::UpgradeUnfinished.into());
    }
    note(&admin.0, &request, "change user", id.0);
    let Some((account, change)) = state.store.change_account(id.0, role, (state.clock)()).await? else {
        return Err(Problem::UserNotFound);
    };
    if let Some(change) = change {
        state.has_changed(change);
    }
    shown(Some(account))
}

problems!(ChangeProblems: UserNotFound, OwnRole, UpgradeUnfinished, Unavailable);

fn shown(account: Option<Account>) -> Result<HttpResponse, Problem> {
    account.map(|account| HttpResponse::Ok().json(AccountBody::from(account))).ok_or(Problem::UserNotFound)
}
