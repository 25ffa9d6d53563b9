//! The page a person pays at, or does not. Plain HTML that works without a script and with a keyboard. Never shows a text as anything but
//! text, and sends nobody away by itself: a link leads back to the shop.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::api::settle;
use super::books::{Act, Outcome, Payment, State};
use super::{Sandbox, reply};
use crate::domain::Currency;

/// Nothing but our own style, and forms that come back here.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The longest that a payment may be in doubt, in seconds: a day.
const LATER_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Where the style is, from a payment's page.
const PAGE_STYLE: &str = "../style.css";

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 1.0625rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 2rem auto; padding: 0 1rem; }
.notice { border-left: .25rem solid #b45309; padding: .25rem .75rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
.amount { font-size: 1.75rem; font-weight: 700; }
form { display: inline-block; margin: 0 .75rem .75rem 0; }
button { font: inherit; padding: .6rem 1.4rem; min-height: 2.75rem; border-radius: .4rem; border: 2px solid #166534; cursor: pointer; }
button.pay { background: #166534; color: #fff; }
button:focus-visible, a:focus-visible { outline: 3px solid #1d4ed8; outline-offset: 3px; }
";

type Shared = web::Data<Sandbox>;

#[derive(Deserialize)]
pub(super) struct LaterQuery {
    seconds: u64,
}

pub(super) async fn show(sandbox: Shared, request: HttpRequest, token: web::Path<String>) -> HttpResponse {
    settle(&sandbox).await;
    match sandbox.books.payment_of_page(token.into_inner()).await {
        Ok(Some(payment)) if wants_html(&request) => page(StatusCode::OK, &payment_page(&payment)),
        Ok(Some(payment)) => HttpResponse::Ok().json(reply::whole(&sandbox, &payment)),
        Ok(None) if wants_html(&request) => page(StatusCode::NOT_FOUND, &nothing_here()),
        Ok(None) => reply::missing(),
        Err(error) => reply::broken(&error),
    }
}

pub(super) async fn pay(sandbox: Shared, request: HttpRequest, token: web::Path<String>) -> HttpResponse {
    act(&sandbox, &request, token.into_inner(), Act::Pay).await
}

pub(super) async fn decline(sandbox: Shared, request: HttpRequest, token: web::Path<String>) -> HttpResponse {
    act(&sandbox, &request, token.into_inner(), Act::Decline).await
}

pub(super) async fn later(sandbox: Shared, request: HttpRequest, token: web::Path<String>, query: web::Query<LaterQuery>) -> HttpResponse {
    if query.seconds > LATER_SECONDS_MAX {
        return reply::refusal(StatusCode::BAD_REQUEST, "invalid_request", "seconds must be a day at most");
    }
    let at = (sandbox.clock)().plus_millis(query.seconds * 1_000);
    act(&sandbox, &request, token.into_inner(), Act::Later(at)).await
}

pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").insert_header((header::CACHE_CONTROL, "max-age=3600")).body(STYLE)
}

pub(super) async fn index() -> HttpResponse {
    let body = "<h1>Sandbox payments</h1><p class=\"notice\">This provider takes no real money. It is here to try with: \
                a payment's own page is where it is paid.</p><p><code>GET /sandbox/events</code> lists what happened, \
                <code>PUT /sandbox/faults</code> sets what goes wrong.</p>";
    page(StatusCode::OK, &document("Sandbox payments", "sandbox/style.css", body))
}

async fn act(sandbox: &Shared, request: &HttpRequest, token: String, act: Act) -> HttpResponse {
    settle(sandbox).await;
    let outcome = sandbox.books.act(token.clone(), act, sandbox.told()).await;
    sandbox.wake.notify_one();
    let is_person = wants_html(request);
    match outcome {
        // Whoever loads the page again does not pay again. Relative: a proxy may serve this under a prefix.
        Ok(Outcome::Made(_) | Outcome::UnexpectedState(_)) if is_person => {
            HttpResponse::SeeOther().insert_header((header::LOCATION, format!("../{token}"))).finish()
        }
        Ok(Outcome::Made(payment) | Outcome::Before(payment)) => HttpResponse::Ok().json(reply::whole(sandbox, &payment)),
        Ok(Outcome::UnexpectedState(payment)) => reply::unexpected_state(sandbox, &payment),
        Ok(Outcome::Missing | Outcome::KeyReused | Outcome::TooMuch) if is_person => page(StatusCode::NOT_FOUND, &nothing_here()),
        Ok(Outcome::Missing | Outcome::KeyReused | Outcome::TooMuch) => reply::missing(),
        Err(error) => reply::broken(&error),
    }
}

/// Browsers name HTML; programs do not.
fn wants_html(request: &HttpRequest) -> bool {
    request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn page(status: StatusCode, html: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)))
        .insert_header((header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .body(html.to_owned())
}

/// `style` is where the style is, from the page's own address: a proxy may serve this under a prefix.
fn document(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><link rel=\"stylesheet\" href=\"{style}\"></head><body><main>{body}</main></body></html>",
        escaped(title)
    )
}

fn nothing_here() -> String {
    document(
        "No such payment",
        PAGE_STYLE,
        "<h1>No such payment</h1><p>This address leads to no payment. Go back to the shop and start again.</p>",
    )
}

fn payment_page(payment: &Payment) -> String {
    let amount = format!("{} {}", decimal(payment.amount, payment.currency), payment.currency);
    let (title, words) = match payment.state {
        State::Open => ("Pay", "Press Pay to pay, or Decline to let the payment fail."),
        State::Processing => ("Payment in progress", "The payment is on its way. It can't be called off."),
        State::Authorized => ("Paid", "The money is set aside for the shop."),
        State::Captured if payment.refunded > 0 => ("Refunded", "The money went back to you."),
        State::Captured => ("Paid", "The shop has the money."),
        State::Failed => ("Payment declined", "No money was taken. Go back to the shop to try again."),
        State::Cancelled => ("Payment cancelled", "The shop has called the payment off. No money was taken."),
    };
    let mut body = format!(
        "<h1>{title}</h1><p class=\"notice\">This is a sandbox: no real money moves.</p><p role=\"status\">{words}</p>\
         <p class=\"amount\">{}</p><dl>",
        escaped(&amount)
    );
    let mut fact = |name: &str, value: &str| body.push_str(&format!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
    if !payment.description.is_empty() {
        fact("For", &payment.description);
    }
    if let Some(order) = &payment.order {
        fact("Order", order);
    }
    if let (State::Open, Some(expires_at)) = (payment.state, payment.expires_at) {
        fact("Pay by", &expires_at.to_string());
    }
    body.push_str("</dl>");
    if payment.state == State::Open {
        let token = &payment.token;
        body.push_str(&format!(
            "<form method=\"post\" action=\"{token}/pay\"><button class=\"pay\">Pay {}</button></form>\
             <form method=\"post\" action=\"{token}/decline\"><button>Decline</button></form>",
            escaped(&amount)
        ));
    }
    if let Some(url) = &payment.return_url {
        body.push_str(&format!("<p><a href=\"{}\">Back to the shop</a></p>", escaped(url)));
    }
    document(&format!("{title} – sandbox"), PAGE_STYLE, &body)
}

/// Minor units as people write them.
fn decimal(minor: i64, currency: Currency) -> String {
    let places = iso_currency::Currency::from_code(currency.code()).and_then(|known| known.exponent()).unwrap_or(0);
    let unit = 10_i64.pow(u32::from(places));
    match places {
        0 => minor.to_string(),
        places => format!("{}.{:0width$}", minor / unit, minor % unit, width = usize::from(places)),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn amounts_are_written_as_their_currency_has_them() {
        for (minor, code, text) in [(4_999, "EUR", "49.99"), (5, "EUR", "0.05"), (500, "JPY", "500"), (1_234, "KWD", "1.234")] {
            assert_eq!(decimal(minor, code.parse().unwrap()), text, "{code}");
        }
    }

    #[test]
    fn a_text_is_a_text_wherever_it_comes_from() {
        let payment = Payment {
            id: "pay_1".into(),
            token: "t".into(),
            reference: None,
            order: Some("<b>".into()),
            description: "\"><script>alert(1)</script>".into(),
            amount: 100,
            currency: "EUR".parse().unwrap(),
            state: State::Open,
            authorized: 0,
            captured: 0,
            refunded: 0,
            return_url: Some("https://shop.example/?a=1&b='\"".into()),
            created_at: Timestamp::ZERO,
            expires_at: None,
            succeeds_at: None,
        };
        let html = payment_page(&payment);
        assert!(!html.contains("<script>") && !html.contains("<b>") && html.contains("a=1&amp;b=&#39;&quot;\""), "{html}");
        assert!(html.contains("action=\"t/pay\"") && html.contains("Pay 1.00 EUR"), "{html}");
        let paid = payment_page(&Payment { state: State::Authorized, ..payment });
        assert!(!paid.contains("<form") && paid.contains("Back to the shop"), "{paid}");
    }
}
