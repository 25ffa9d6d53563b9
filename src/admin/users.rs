//! Accounts, for operators: list, read, change the role. Never shows a password hash.

use actix_web::{HttpResponse, web};
use utoipa::ToSchema;

use super::note;
use crate::domain::{Invalid, UserId};
use crate::http::accounts::AccountBody;
use crate::http::problem::Problem;
use crate::http::schema::{PageParameters, problems};
use crate::http::{AppState, Body, Id, Operator, Page, PageRequest, Query, RequestId};
use crate::store::{Account, Role};

/// What changes about an account.
#[derive(Debug, ToSchema)]
#[schema(as = UserChange)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct ChangeBody {
    #[schema(nullable = false)]
    role: Option<Role>,
}

/// Accounts, by id.
#[utoipa::path(get, path = "/admin/v1/users", operation_id = "list_users", tag = "operators: users",
    params(PageParameters<UserId>),
    responses((status = 200, description = "A page of accounts", body = Page<AccountBody>), ListProblems))]
pub(crate) async fn list(state: web::Data<AppState>, _operator: Operator, mut query: Query) -> Result<HttpResponse, Problem> {
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
pub(crate) async fn read(state: web::Data<AppState>, _operator: Operator, id: Id<UserId>) -> Result<HttpResponse, Problem> {
    shown(state.store.account(id.0).await?)
}

problems!(ReadProblems: UserNotFound, Unavailable);

/// Change an account's role. Tokens that are out keep theirs until they expire.
#[utoipa::path(patch, path = "/admin/v1/users/{id}", operation_id = "change_user", tag = "operators: users",
    params(("id" = UserId, Path, description = "The account")),
    request_body = ChangeBody,
    responses((status = 200, description = "Changed", body = AccountBody), ChangeProblems))]
pub(crate) async fn change(
    state: web::Data<AppState>,
    operator: Operator,
    id: Id<UserId>,
    request: RequestId,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let mut fields = body.fields()?;
    let role = fields.text::<RoleWord>("role").map(|RoleWord(role)| role);
    fields.finish()?;
    if role.is_some_and(|role| operator.0.principal == id.0.into() && role != operator.0.role) {
        return Err(Problem::OwnRole);
    }
    note(&operator.0, &request, "change user", id.0);
    shown(state.store.change_account(id.0, role).await?)
}

problems!(ChangeProblems: UserNotFound, OwnRole, Unavailable);

struct RoleWord(Role);

impl std::str::FromStr for RoleWord {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "buyer" => Ok(Self(Role::Buyer)),
            "admin" => Ok(Self(Role::Admin)),
            _ => Err(Invalid("a role is buyer or admin")),
        }
    }
}

fn shown(account: Option<Account>) -> Result<HttpResponse, Problem> {
    account.map(|account| HttpResponse::Ok().json(AccountBody::from(account))).ok_or(Problem::UserNotFound)
}
