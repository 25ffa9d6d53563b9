//! The closed table of problem codes: each with its status, its title and what it means. Codes are append-only: clients
//! branch on them. Never decides which code applies.

use actix_web::http::StatusCode;

macro_rules! codes {
    ($($variant:ident $word:literal $status:ident $title:literal $meaning:literal)+) => {
        /// A stable word for what went wrong. Part of the HTTP contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The word in the problem's `code` and `type`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Code::$variant => $word),+ }
            }

            /// The status it is answered with.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status),+ }
            }

            /// A few words for people, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),+ }
            }

            /// What it means and what to do: the text of `/docs/problems`.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning),+ }
            }

            /// The problem's `type`: a place in the page that explains it.
            #[must_use]
            pub const fn type_uri(self) -> &'static str {
                match self { $(Code::$variant => concat!("/docs/problems#", $word)),+ }
            }
        }
    };
}

codes! {
    NotFound "not_found" NOT_FOUND "Not found"
        "No such route, or an id in the path that is no id."
    CommodityNotFound "commodity_not_found" NOT_FOUND "No such commodity"
        "No commodity has this id, or it was removed."
    OrderNotFound "order_not_found" NOT_FOUND "No such order"
        "No order has this id, or it is another buyer's."
    PaymentNotFound "payment_not_found" NOT_FOUND "No such payment"
        "No payment with this id was started."
    NodeNotFound "node_not_found" NOT_FOUND "No such node"
        "No node has this id."
    UserNotFound "user_not_found" NOT_FOUND "No such user"
        "No account has this id."
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "Method not allowed"
        "The route exists and does not take this method; `Allow` lists those it takes."
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "Request timeout"
        "The request's body did not arrive in time."
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE "Body too large"
        "The request's body is larger than this server takes."
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "Unsupported media type"
        "A body must be sent as `application/json`, an import of commodities as `text/csv`; it may be compressed with gzip or deflate, and says so in `Content-Encoding` then."
    InvalidRequest "invalid_request" UNPROCESSABLE_ENTITY "Invalid request"
        "Something in the body, the query or a header is wrong: `errors` lists each field at fault. Nothing changed."
    IdempotencyMismatch "idempotency_mismatch" UNPROCESSABLE_ENTITY "Idempotency key used for another request"
        "The caller used the Idempotency-Key before, for this commodity or path, with another request. Nothing changed."
    Unauthenticated "unauthenticated" UNAUTHORIZED "Not authenticated"
        "The bearer token is missing, malformed, expired, for another audience, not signed with a key this server trusts, or was given before the password or the role of its account was changed."
    InvalidCredentials "invalid_credentials" UNAUTHORIZED "Wrong name or password"
        "No account has this name and this password."
    Forbidden "forbidden" FORBIDDEN "Forbidden"
        "The token is valid and its role may not do this."
    SoldOut "sold_out" CONFLICT "Sold out"
        "Fewer units are available than the order asks for. Units may come back while the sale lasts."
    LimitReached "limit_reached" CONFLICT "Limit reached"
        "The buyer would have more units of this commodity than one buyer may."
    NotStarted "not_started" CONFLICT "Not started"
        "The sale begins later: see `starts_at`."
    Ended "ended" CONFLICT "Ended"
        "The sale is over."
    Paused "paused" CONFLICT "Paused"
        "An operator paused the sale. It may go on."
    PriceChanged "price_changed" CONFLICT "Price changed"
        "One unit costs something else than `unit_price`, which the buyer saw. Read the commodity again, then decide."
    NotCancellable "not_cancellable" CONFLICT "Not cancellable"
        "The order cannot be cancelled: it was cancelled before, has expired, is being paid, or its commodity's `cancellation` does not allow it."
    NotPayable "not_payable" CONFLICT "Not payable"
        "The order's status does not allow a payment."
    NotRefundable "not_refundable" CONFLICT "Not refundable"
        "Only the money of a paid order can be given back, and once."
    TotalTooLow "total_too_low" CONFLICT "Total too low"
        "The total cannot go below the units that are held and sold."
    TotalTooHigh "total_too_high" CONFLICT "Total too high"
        "A commodity cannot have more than 1000000000 units in all."
    HasOrders "has_orders" CONFLICT "Has orders"
        "A commodity with held or sold units cannot be removed: end its sale instead."
    NotEnded "not_ended" CONFLICT "Not ended"
        "The sale is not over: only what has ended can be closed."
    HasOpenOrders "has_open_orders" CONFLICT "Has open orders"
        "Units are held, a payment is open, or a refund is due: the commodity can be closed when that is over."
    Closed "closed" CONFLICT "Closed"
        "The commodity is closed: it and its orders can be read, and nothing of them changes any more."
    UpgradeUnfinished "upgrade_unfinished" SERVICE_UNAVAILABLE "Upgrade not finished"
        "Processes of an older release may still run, which would not understand this: it is possible when the upgrade is finished (`doorbuster migrate --finish`). Nothing changed."
    CommodityExists "commodity_exists" CONFLICT "Commodity exists"
        "The id was used before."
    SkuTaken "sku_taken" CONFLICT "Article number taken"
        "Another commodity has this `sku`, or is about to get it. A closed commodity keeps its own."
    UsernameTaken "username_taken" CONFLICT "Name taken"
        "An account with this name exists already."
    NodeGone "node_gone" CONFLICT "Node gone"
        "The node has stopped already: there is nothing to drain."
    OwnRole "own_role" CONFLICT "Own role"
        "Admins cannot change their own role, lest nobody is left to change it back."
    VersionMismatch "version_mismatch" PRECONDITION_FAILED "Version mismatch"
        "The commodity was changed since the version named in `If-Match`. Read it again, then decide."
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests"
        "Too many requests of this user or this address, or attempts at this account's password: come back after `Retry-After` seconds."
    TooManyKeys "too_many_keys" TOO_MANY_REQUESTS "Too many keys"
        "So many operators' keys of the last 24 hours are remembered for this part of the commodities that there is no room for another: send the request without one, or later."
    BadSignature "bad_signature" UNAUTHORIZED "Bad signature"
        "The message is not signed with a secret of this provider's, or is more than five minutes old or ahead: it was not heard."
    ProviderUnavailable "provider_unavailable" SERVICE_UNAVAILABLE "Payment provider unavailable"
        "The payment provider is away, or none is set up. Nothing was charged: try again after `Retry-After` seconds."
    Internal "internal" INTERNAL_SERVER_ERROR "Internal error"
        "A fault of the server. The request id finds its cause in the server's log."
    Overloaded "overloaded" SERVICE_UNAVAILABLE "Overloaded"
        "Too much waits already. The request was certainly not carried out: try again after `Retry-After` seconds."
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Unavailable"
        "A part the request needs is starting, stopping or away: try again after `Retry-After` seconds."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_word_of_its_own_and_a_refusal() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.word().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code:?}");
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(code.type_uri().ends_with(code.word()), "{code:?}");
        }
    }
}
