//! Built-in accounts: register, log in, change the password, who am I. Never logs a name with a password or a token, never tells whether it
//! was the name or the password that was wrong, and never needs an account: tokens of another issuer have none here.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Body;
use super::client_address::ClientAddress;
use super::extract::{Caller, Changer};
use super::key::{GivenKey, KeyHeader};
use super::problem::Problem;
use super::schema::problems;
use super::state::AppState;
use crate::auth::{HashingError, Password, Unauthenticated, Username};
use crate::domain::{Operation, Principal, Timestamp, UserId};
use crate::engine::Refusal;
use crate::logins::NotNow;
use crate::routing::Busy;
use crate::store::{Account, Remembered, Role};

/// A name and a password.
#[derive(Debug, ToSchema)]
#[schema(as = Credentials)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct CredentialsBody {
    /// 3 to 64 of letters, digits and `. _ - @ +`; names that differ only in case are the same.
    #[schema(min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9._@+-]{3,64}$", examples("alice"))]
    username: String,
    /// 8 to 128 characters of any kind.
    #[schema(min_length = 8, max_length = 128, format = Password, examples("correct horse battery"))]
    password: String,
}

/// A change of one's password.
#[derive(Debug, ToSchema)]
#[schema(as = PasswordChange)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a body that is read field by field, so that every fault is told at once")]
pub(crate) struct PasswordChangeBody {
    #[schema(min_length = 8, max_length = 128, format = Password, examples("correct horse battery"))]
    current_password: String,
    /// 8 to 128 characters of any kind.
    #[schema(min_length = 8, max_length = 128, format = Password, examples("a new horse, just as good"))]
    new_password: String,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(crate) struct AccountBody {
    user_id: UserId,
    #[schema(examples("alice"))]
    username: String,
    role: Role,
    created_at: Timestamp,
}

impl From<Account> for AccountBody {
    fn from(account: Account) -> Self {
        Self { user_id: account.id, username: account.username, role: account.role, created_at: account.created_at }
    }
}

/// A token and what it is good for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionBody {
    /// What to send as `Authorization: Bearer`.
    access_token: String,
    /// Always `Bearer`.
    #[schema(pattern = "^Bearer$", examples("Bearer"))]
    token_type: &'static str,
    /// For how many seconds the token is good.
    #[schema(minimum = 1, examples(86400))]
    expires_in: u64,
    user_id: UserId,
    role: Role,
}

/// Whom a token speaks for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Me)]
pub(crate) struct MeBody {
    user_id: Principal,
    /// Null for a token whose user has no account here.
    #[schema(required, examples("alice"))]
    username: Option<String>,
    /// What the token may do.
    role: Role,
    /// When the account was made; null where there is none.
    #[schema(required)]
    created_at: Option<Timestamp>,
}

/// Make an account, with the role `buyer`.
///
/// Where registration is switched off, there is no such call.
#[utoipa::path(post, path = "/v1/auth/register", operation_id = "register", tag = "accounts", security(()),
    request_body(content = CredentialsBody, example = json!({"username": "alice", "password": "correct horse battery"})),
    params(KeyHeader),
    responses((status = 201, description = "The new account", body = AccountBody),
        (status = 200, description = "Made before, under the same key, with the same name and password", body = AccountBody), RegisterProblems))]
pub(crate) async fn register(
    state: web::Data<AppState>,
    address: ClientAddress,
    key: GivenKey,
    body: Body,
) -> Result<HttpResponse, Problem> {
    state.logins.begin(address.0)?;
    let (username, password) = credentials(body)?;
    let place = state.logins.admit_address(address.0).await?;
    // Of a password nothing is remembered: the account itself says whether it is the same.
    let operation = key.operation(format_args!("name {}", username.as_str().to_lowercase()), &"register");
    if let Some(account) = state.store.account_by_name(username.as_str()).await? {
        // Spares a hash; whoever takes the name in between is found by the store. Who made it under a key has remembered that before.
        return if is_remembered(&state, operation).await? {
            drop(place);
            registered(&state, address, account, password).await
        } else {
            Err(Problem::UsernameTaken)
        };
    }
    let hash = place.hash(password.clone()).await?;
    drop(place);
    let is_repeated = remember(&state, operation, 0).await?;
    match state.store.create_account(username.as_str(), &hash, Role::Buyer, (state.clock)()).await? {
        Some(account) => Ok(HttpResponse::Created().json(AccountBody::from(account))),
        // The same request has come twice at once.
        None if operation.is_some() => {
            let account = state.store.account_by_name(username.as_str()).await?.ok_or(Problem::UsernameTaken)?;
            // Another one of the same request may have been faster, also at the key.
            let answer = registered(&state, address, account, password).await;
            answer.map_err(|problem| if is_repeated { problem } else { Problem::UsernameTaken })
        }
        None => Err(Problem::UsernameTaken),
    }
}

/// The answer to a registration that is repeated under its key.
async fn registered(state: &AppState, address: ClientAddress, account: Account, password: Password) -> Result<HttpResponse, Problem> {
    // Nobody may guess at a password here either.
    let attempt = state.logins.admit(address.0, &account.username, (state.clock)()).await?;
    if !attempt.place().verify(password, Some(account.password_hash.clone())).await? {
        return Err(Refusal::IdempotencyMismatch.into());
    }
    state.logins.succeeded(&attempt, (state.clock)()).await;
    Ok(HttpResponse::Ok().json(AccountBody::from(account)))
}

problems!(RegisterProblems: UsernameTaken, IdempotencyMismatch, NotFound, Unavailable, Overloaded);

/// Get a token for a name and a password. Repeated, under a key or not, it is another token.
///
/// Where the built-in accounts' login is switched off, there is no such call.
#[utoipa::path(post, path = "/v1/auth/login", operation_id = "login", tag = "accounts", security(()),
    request_body(content = CredentialsBody, example = json!({"username": "alice", "password": "correct horse battery"})),
    params(KeyHeader),
    responses((status = 200, description = "A token", body = SessionBody), LoginProblems))]
pub(crate) async fn login(state: web::Data<AppState>, address: ClientAddress, _key: GivenKey, body: Body) -> Result<HttpResponse, Problem> {
    state.logins.begin(address.0)?;
    let (username, password) = credentials(body)?;
    let attempt = state.logins.admit(address.0, username.as_str(), (state.clock)()).await?;
    let account = state.store.account_by_name(username.as_str()).await?;
    let stored = account.as_ref().map(|account| account.password_hash.clone());
    // Hashed for unknown names too: the time of the answer does not tell which names exist.
    let matches = attempt.place().verify(password, stored).await?;
    let account = account.filter(|_| matches).ok_or(Problem::InvalidCredentials)?;
    state.logins.succeeded(&attempt, (state.clock)()).await;
    Ok(session(&state, &account))
}

problems!(LoginProblems: InvalidCredentials, NotFound, Unavailable, Overloaded);

/// Change one's own password. The answer is a new token; those that were given before end, on every node within a second.
///
/// Where the built-in accounts' login is switched off, there is no such call.
#[utoipa::path(post, path = "/v1/auth/password", operation_id = "change_password", tag = "accounts",
    request_body(content = PasswordChangeBody,
        example = json!({"current_password": "correct horse battery", "new_password": "a new horse, just as good"})),
    params(KeyHeader),
    responses((status = 200, description = "Changed; or changed before, under the same key", body = SessionBody), PasswordProblems))]
pub(crate) async fn change_password(
    state: web::Data<AppState>,
    Changer { caller, has_ended }: Changer,
    address: ClientAddress,
    key: GivenKey,
    body: Body,
) -> Result<HttpResponse, Problem> {
    state.logins.begin(address.0)?;
    let mut fields = body.fields()?;
    let mut password = |name| {
        let found = fields.text::<Password>(name);
        fields.required(name, found)
    };
    let (current, new) = (password("current_password"), password("new_password"));
    fields.finish()?;
    let (current, new) = current.zip(new).expect("fields without a fault are all there");
    // Another issuer's account has its password there.
    let user = caller.principal.account().ok_or(Problem::UserNotFound)?;
    let account = state.store.account(user).await?.ok_or(Problem::UserNotFound)?;
    // Whoever has a token and not the password may not guess it here either.
    let attempt = state.logins.admit(address.0, &account.username, (state.clock)()).await?;
    let operation = key.operation(&caller.principal, &"password");
    let before = match operation {
        Some(operation) => state.store.remembered(operation, (state.clock)()).await?,
        None => None,
    };
    // Remembered was how often the account had been changed before: it was changed since, under this key first of all.
    let was_made = matches!(before, Some(Remembered::Before(generation)) if account.generation > generation);
    if was_made && attempt.place().verify(new.clone(), Some(account.password_hash.clone())).await? {
        state.logins.succeeded(&attempt, (state.clock)()).await;
        return Ok(session(&state, &account));
    }
    if has_ended {
        // It is good for asking again, and for nothing else.
        return Err(Unauthenticated::Ended.into());
    }
    if was_made {
        return Err(Refusal::IdempotencyMismatch.into());
    }
    if !attempt.place().verify(current, Some(account.password_hash.clone())).await? {
        return Err(Problem::InvalidCredentials);
    }
    let hash = attempt.place().hash(new).await?;
    remember(&state, operation, account.generation).await?;
    let change = state.store.change_password(&account, &hash, (state.clock)()).await?;
    // None: somebody else has changed the account just now, and what was current is that no more.
    let change = change.ok_or(Problem::InvalidCredentials)?;
    state.has_changed(change);
    state.logins.succeeded(&attempt, (state.clock)()).await;
    Ok(session(&state, &Account { generation: change.generation, ..account }))
}

problems!(PasswordProblems: InvalidCredentials, IdempotencyMismatch, UserNotFound, NotFound, Unavailable, Overloaded);

/// Whom the token speaks for, and what it may do.
#[utoipa::path(get, path = "/v1/me", operation_id = "me", tag = "accounts",
    responses((status = 200, description = "The token's user", body = MeBody), MeProblems))]
pub(crate) async fn me(state: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    let caller = caller.0;
    let account = match caller.principal.account() {
        Some(user) => state.store.account(user).await?,
        None => None,
    };
    let created_at = account.as_ref().map(|account| account.created_at);
    let username = account.map(|account| account.username);
    Ok(HttpResponse::Ok().json(MeBody { user_id: caller.principal, username, role: caller.role, created_at }))
}

problems!(MeProblems: Unavailable);

/// Whether a request under that key came as far as a change before.
async fn is_remembered(state: &AppState, operation: Option<Operation>) -> Result<bool, Problem> {
    let Some(operation) = operation else { return Ok(false) };
    Ok(state.store.remembered(operation, (state.clock)()).await?.is_some())
}

/// Remembers the key before anything changes: who comes again finds out what has. Returns whether it was remembered before.
async fn remember(state: &AppState, operation: Option<Operation>, number: i64) -> Result<bool, Problem> {
    let Some(operation) = operation else { return Ok(false) };
    Ok(state.store.remember(operation, number, (state.clock)()).await? != Remembered::New)
}

fn session(state: &AppState, account: &Account) -> HttpResponse {
    let session = SessionBody {
        access_token: state.authenticator.mint_for_account(account, (state.clock)()),
        token_type: "Bearer",
        expires_in: state.authenticator.ttl_seconds(),
        user_id: account.id,
        role: account.role,
    };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(session)
}

fn credentials(body: Body) -> Result<(Username, Password), Problem> {
    let mut fields = body.fields()?;
    let username = fields.text::<Username>("username");
    let username = fields.required("username", username);
    let password = fields.text::<Password>("password");
    let password = fields.required("password", password);
    fields.finish()?;
    Ok(username.zip(password).expect("fields without a fault are all there"))
}

impl From<NotNow> for Problem {
    fn from(refusal: NotNow) -> Self {
        match refusal {
            NotNow::Limited(limited) => limited.into(),
            NotNow::Busy => Busy::Overloaded.into(),
            NotNow::Store(error) => error.into(),
        }
    }
}

impl From<HashingError> for Problem {
    fn from(error: HashingError) -> Self {
        match error {
            HashingError::Busy => Busy::Overloaded.into(),
            HashingError::Failed(cause) => Self::Internal(cause),
        }
    }
}
