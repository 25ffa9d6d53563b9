//! What handlers take from a request before its body: who asks, which id, the query. Never touches the database, so that each is settled
//! before the body is read; but for a token whose issuer has other keys by now, for which it waits a few seconds at most.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::{Either, LocalBoxFuture};

use super::client_address::ClientAddress;
use super::problem::Problem;
use super::query::Query;
use super::request_id::RequestId;
use super::state::AppState;
use crate::auth::{self, Verdict};
use crate::domain::{CommodityId, NodeId, OrderId, UserId};
use crate::store::Role;

/// Whoever has a valid token.
#[derive(Clone, Debug)]
pub struct Caller(pub auth::Caller);

/// As [`Caller`], of whom may buy, and the request counts for the user's rate limit: for what changes something.
#[derive(Clone, Debug)]
pub struct CountedCaller(pub auth::Caller);

/// Whoever has a valid token with the role `operator` or `admin`: reads and runs sales.
#[derive(Clone, Debug)]
pub struct Operator(pub auth::Caller);

/// Whoever has a valid token with the role `admin`: also changes who may do what, and the nodes.
#[derive(Clone, Debug)]
pub struct Admin(pub auth::Caller);

/// The id in the path, under the name `id`.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

/// There at once, unless the token's key has to be asked for.
pub type Authenticating<T> = Either<Ready<Result<T, Problem>>, LocalBoxFuture<'static, Result<T, Problem>>>;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Authenticating<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        authenticate(request, |_, caller| Ok(Self(caller)))
    }
}

impl FromRequest for CountedCaller {
    type Error = Problem;
    type Future = Authenticating<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        authenticate(request, |state, caller| {
            match caller.role {
                Role::Buyer | Role::Operator | Role::Admin => {}
                // It speaks for many: what it may do has calls of its own.
                Role::Service => return Err(Problem::Forbidden),
            }
            state.limiter.check_user(caller.principal.key())?;
            Ok(Self(caller))
        })
    }
}

impl FromRequest for Operator {
    type Error = Problem;
    type Future = Authenticating<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        authenticate(request, |_, caller| match caller.role {
            Role::Operator | Role::Admin => Ok(Self(caller)),
            Role::Buyer | Role::Service => Err(Problem::Forbidden),
        })
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Authenticating<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        authenticate(request, |_, caller| match caller.role {
            Role::Admin => Ok(Self(caller)),
            Role::Buyer | Role::Operator | Role::Service => Err(Problem::Forbidden),
        })
    }
}

impl<T: PathId> FromRequest for Id<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.match_info().get("id").and_then(T::from_path);
        ready(id.map(Self).ok_or(Problem::NotFound))
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Query::read(request.query_string())))
    }
}

impl FromRequest for ClientAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().copied();
        ready(found.ok_or_else(|| Problem::Internal("the request did not pass the middleware".to_owned())))
    }
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = request.extensions().get::<Self>().cloned();
        ready(found.ok_or_else(|| Problem::Internal("the request did not pass the middleware".to_owned())))
    }
}

/// An id as it stands in a path: written one way only, so that one thing has one address.
pub trait PathId: Sized {
    /// The id; none for a text that is none.
    fn from_path(text: &str) -> Option<Self>;
}

impl PathId for CommodityId {
    fn from_path(text: &str) -> Option<Self> {
        canonical_number(text)?.parse().ok()
    }
}

impl PathId for UserId {
    fn from_path(text: &str) -> Option<Self> {
        canonical_number(text)?.parse().ok()
    }
}

impl PathId for OrderId {
    fn from_path(text: &str) -> Option<Self> {
        // 36 characters are the hyphenated form; the parser takes others too.
        (text.len() == 36).then(|| text.parse().ok()).flatten()
    }
}

impl PathId for NodeId {
    fn from_path(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Decimal digits without sign and without leading zeros.
fn canonical_number(text: &str) -> Option<&str> {
    (text.starts_with(|first: char| first.is_ascii_digit() && first != '0')).then_some(text)
}

/// Who asks, if `admit` lets them.
fn authenticate<T: 'static>(request: &HttpRequest, admit: fn(&AppState, auth::Caller) -> Result<T, Problem>) -> Authenticating<T> {
    let state = state_of(request);
    let token = match bearer(request) {
        Ok(token) => token,
        Err(problem) => return Either::Left(ready(Err(problem))),
    };
    match state.authenticator.judge(token) {
        Verdict::Known(known) => Either::Left(ready(known.map_err(Problem::from).and_then(|caller| admit(state, caller)))),
        Verdict::Awaits(keys) => {
            let (state, token) = (state.clone(), token.to_owned());
            Either::Right(Box::pin(async move { admit(&state, state.authenticator.verify_with_newer(&token, keys).await?) }))
        }
    }
}

fn bearer(request: &HttpRequest) -> Result<&str, Problem> {
    let value = request.headers().get(header::AUTHORIZATION).ok_or(Problem::NoToken)?;
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Problem::NoToken)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_matches(' ')) } else { Err(Problem::NoToken) }
}

fn state_of(request: &HttpRequest) -> &web::Data<AppState> {
    request.app_data().expect("the state is part of every app")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_one_way_only() {
        assert_eq!(CommodityId::from_path("7").map(CommodityId::get), Some(7));
        assert_eq!(UserId::from_path("9223372036854775807").map(UserId::get), Some(i64::MAX));
        assert_eq!(CommodityId::from_path("9007199254740991").map(CommodityId::get), Some(CommodityId::GIVEN_MAX));
        assert!(CommodityId::from_path("9007199254740992").is_none());
        for text in ["0", "-1", "+7", "07", "7.0", "1e3", "", "words", "9223372036854775808", "٧"] {
            assert!(CommodityId::from_path(text).is_none(), "{text}");
            assert!(UserId::from_path(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_order_id_is_a_hyphenated_uuid_of_version_8() {
        assert!(OrderId::from_path("01234567-89ab-8abc-9555-555123456789").is_some());
        for text in
            ["0123456789ab8abc9555555123456789", "{01234567-89ab-8abc-9555-555123456789}", "01234567-89ab-4abc-9555-555123456789", "1"]
        {
            assert!(OrderId::from_path(text).is_none(), "{text}");
        }
    }
}
