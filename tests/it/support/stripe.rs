//! A stand-in for Stripe: strict about what it is sent, by what is published of its API, and with the states of its objects. It has no pages: a
//! test says what the buyer does. What it would not have been sent by a good client is kept as a complaint.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// What it is shown.
pub const SECRET: &str = "sk_test_stand_in";

/// Every parameter that may create a session here.
const SESSION_PARAMETERS: [&str; 15] = [
    "adaptive_pricing[enabled]",
    "cancel_url",
    "client_reference_id",
    "expires_at",
    "line_items[0][price_data][currency]",
    "line_items[0][price_data][product_data][name]",
    "line_items[0][price_data][unit_amount]",
    "line_items[0][quantity]",
    "metadata[order_id]",
    "metadata[payment_id]",
    "mode",
    "payment_intent_data[capture_method]",
    "payment_intent_data[metadata][order_id]",
    "payment_intent_data[metadata][payment_id]",
    "success_url",
];

type Parameters = Vec<(String, String)>;
type Reply = (u16, Value);

/// The stand-in.
pub struct StripeStandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, Session>,
    refunds: Vec<Value>,
    events: Vec<Value>,
    keys: BTreeMap<String, (String, Reply)>,
    complaints: Vec<String>,
    /// The next request is answered so, once.
    next: Option<Next>,
    numbers: u32,
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is done, and answered with 500; the key keeps the 500.
    FailKept,
    /// It is not done, and answered with 429.
    TooMany,
    /// It is not done: another request has the key.
    KeyInUse,
}

struct Session {
    body: Value,
    intent: Option<Value>,
}

impl StripeStandIn {
    /// Listens.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = web::Data::from(Arc::clone(&state));
        let factory = move || App::new().app_data(shared.clone()).default_service(web::to(serve));
        let server = HttpServer::new(factory).workers(1).disable_signals().listen(listener).expect("it listens").run();
        tokio::spawn(server);
        Self { address, state }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The buyer pays: the money is set aside.
    pub fn pay(&self, session: &str) {
        self.becomes(session, "requires_capture", "checkout.session.completed");
    }

    /// The buyer pays in a way that takes a while.
    pub fn pay_slowly(&self, session: &str) {
        self.becomes(session, "processing", "checkout.session.completed");
    }

    /// What took a while is there, or is not.
    pub fn settle(&self, session: &str, is_good: bool) {
        let status = if is_good { "requires_capture" } else { "requires_payment_method" };
        let kind = if is_good { "checkout.session.async_payment_succeeded" } else { "checkout.session.async_payment_failed" };
        self.becomes(session, status, kind);
    }

    /// The next request goes wrong.
    pub fn next(&self, next: Next) {
        self.state().next = Some(next);
    }

    /// As a day later.
    pub fn forget_keys(&self) {
        self.state().keys.clear();
    }

    /// What a good client would not have sent.
    pub fn complaints(&self) -> Vec<String> {
        self.state().complaints.clone()
    }

    /// The parameters that a session was created with.
    pub fn session(&self, id: &str) -> Value {
        self.state().sessions[id].body.clone()
    }

    fn becomes(&self, session: &str, status: &str, kind: &str) {
        let mut state = self.state();
        let number = state.number();
        let found = state.sessions.get_mut(session).expect("a session of this stand-in");
        let amount = found.body["amount_total"].clone();
        let intent = found.intent.get_or_insert_with(|| {
            json!({
                "id": format!("pi_{number}"), "object": "payment_intent", "amount": amount, "amount_received": 0, "capture_method": "manual",
                "currency": found.body["currency"], "latest_charge": {"id": format!("ch_{number}"), "object": "charge", "amount_refunded": 0},
                "metadata": found.body["metadata"],
            })
        });
        intent["status"] = status.into();
        intent["amount_capturable"] = if status == "requires_capture" { amount } else { json!(0) };
        found.body["status"] = "complete".into();
        found.body["url"] = Value::Null;
        found.body["payment_intent"] = intent["id"].clone();
        let object = found.body.clone();
        state.note(kind, object);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }
}

async fn serve(state: web::Data<Mutex<State>>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let mut state = state.lock().expect("nobody panics with it");
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if header("authorization").as_deref() != Some(&format!("Bearer {SECRET}")) {
        return reply(error(401, "invalid_request_error", None, "Invalid API Key provided"), false);
    }
    if header("stripe-version").is_none() {
        state.complaints.push("no Stripe-Version".to_owned());
    }
    let is_post = request.method() == "POST";
    if is_post && header("content-type").as_deref() != Some("application/x-www-form-urlencoded") {
        state.complaints.push(format!("{}: no form", request.path()));
    }
    let text = if is_post { String::from_utf8_lossy(&body).into_owned() } else { request.query_string().to_owned() };
    let parameters = web::Query::<Parameters>::from_query(&text).expect("every text is a form").into_inner();
    let next = state.next.take();
    match next {
        Some(Next::TooMany) => return reply(error(429, "invalid_request_error", Some("rate_limit"), "Too many requests"), false),
        Some(Next::KeyInUse) => {
            return reply(
                error(409, "idempotency_error", Some("idempotency_key_in_use"), "There is currently another in-progress request"),
                false,
            );
        }
        Some(Next::FailKept) | None => {}
    }
    let Some(key) = header("idempotency-key").filter(|_| is_post) else {
        if is_post && ["/v1/checkout/sessions", "/v1/refunds"].contains(&request.path()) {
            state.complaints.push(format!("{} without a key", request.path()));
        }
        return reply(state.answer(is_post, request.path(), &parameters), false);
    };
    let fingerprint = format!("{}?{text}", request.path());
    if let Some((before, kept)) = state.keys.get(&key) {
        if *before != fingerprint {
            let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
            return reply(error(400, "idempotency_error", None, message), false);
        }
        return reply(kept.clone(), true);
    }
    let mut answer = state.answer(is_post, request.path(), &parameters);
    if next == Some(Next::FailKept) {
        answer = error(500, "api_error", None, "An unknown error occurred");
    }
    // What was not even begun is not kept.
    if answer.0 != 400 {
        state.keys.insert(key, (fingerprint, answer.clone()));
    }
    reply(answer, false)
}

impl State {
    fn answer(&mut self, is_post: bool, path: &str, parameters: &Parameters) -> Reply {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (is_post, parts.as_slice()) {
            (true, ["v1", "checkout", "sessions"]) => self.create_session(parameters),
            (false, ["v1", "checkout", "sessions", id]) => self.session(id, parameters),
            (true, ["v1", "checkout", "sessions", id, "expire"]) => self.expire(id),
            (true, ["v1", "payment_intents", id, "capture"]) => self.change_intent(id, true),
            (true, ["v1", "payment_intents", id, "cancel"]) => self.change_intent(id, false),
            (true, ["v1", "refunds"]) => self.refund(parameters),
            (false, ["v1", "refunds"]) => {
                let wanted = one(parameters, "payment_intent");
                let data: Vec<&Value> = self.refunds.iter().filter(|refund| refund["payment_intent"] == json!(wanted)).collect();
                (200, json!({"object": "list", "has_more": false, "data": data}))
            }
            (false, ["v1", "events"]) => self.list_events(parameters),
            _ => error(404, "invalid_request_error", None, &format!("Unrecognized request URL ({path})")),
        }
    }

    fn create_session(&mut self, parameters: &Parameters) -> Reply {
        for (name, _) in parameters {
            if !SESSION_PARAMETERS.contains(&name.as_str()) {
                return error(400, "invalid_request_error", Some("parameter_unknown"), &format!("Received unknown parameter: {name}"));
            }
        }
        if let Some(missing) = SESSION_PARAMETERS.iter().find(|name| one(parameters, name).is_none()) {
            return error(400, "invalid_request_error", Some("parameter_missing"), &format!("Missing required param: {missing}."));
        }
        let value = |name: &str| one(parameters, name).unwrap_or_default();
        let (amount, quantity) = (value("line_items[0][price_data][unit_amount]"), value("line_items[0][quantity]"));
        let (Ok(amount), Ok(1)) = (amount.parse::<u64>(), quantity.parse::<u64>()) else {
            return error(400, "invalid_request_error", Some("parameter_invalid_integer"), "Invalid integer");
        };
        let currency = value("line_items[0][price_data][currency]");
        if currency.len() != 3 || currency != currency.to_lowercase() {
            return error(400, "invalid_request_error", None, "Invalid currency");
        }
        if value("mode") != "payment" || value("payment_intent_data[capture_method]") != "manual" {
            return error(400, "invalid_request_error", None, "This stand-in has nothing else");
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_secs();
        let expires_at: u64 = value("expires_at").parse().unwrap_or_default();
        if !(now + 30 * 60..=now + 24 * 60 * 60).contains(&expires_at) {
            let message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.";
            return error(400, "invalid_request_error", None, message);
        }
        let number = self.number();
        let id = format!("cs_test_{number}");
        let body = json!({
            "id": id, "object": "checkout.session", "status": "open", "payment_status": "unpaid", "amount_total": amount,
            "currency": currency, "client_reference_id": value("client_reference_id"), "payment_intent": null,
            "url": format!("https://checkout.stripe.com/c/pay/{id}"), "expires_at": expires_at, "success_url": value("success_url"),
            "metadata": {"payment_id": value("metadata[payment_id]"), "order_id": value("metadata[order_id]")},
        });
        self.sessions.insert(id, Session { body: body.clone(), intent: None });
        (200, body)
    }

    fn session(&self, id: &str, parameters: &Parameters) -> Reply {
        let Some(session) = self.sessions.get(id) else { return no_such("checkout.session", id) };
        let mut body = session.body.clone();
        if one(parameters, "expand[]").as_deref() == Some("payment_intent.latest_charge")
            && let Some(intent) = &session.intent
        {
            body["payment_intent"] = intent.clone();
        }
        (200, body)
    }

    fn expire(&mut self, id: &str) -> Reply {
        let Some(session) = self.sessions.get_mut(id) else { return no_such("checkout.session", id) };
        if session.body["status"] != "open" {
            let message = format!(
                "Only Checkout Sessions with a status in [\"open\"] can be expired. This one has a status of {}.",
                session.body["status"]
            );
            return error(400, "invalid_request_error", None, &message);
        }
        session.body["status"] = "expired".into();
        session.body["url"] = Value::Null;
        let body = session.body.clone();
        self.note("checkout.session.expired", body.clone());
        (200, body)
    }

    fn change_intent(&mut self, id: &str, is_capture: bool) -> Reply {
        let Some(intent) = self.sessions.values_mut().filter_map(|session| session.intent.as_mut()).find(|intent| intent["id"] == id)
        else {
            return no_such("payment_intent", id);
        };
        if intent["status"] != "requires_capture" {
            let what = if is_capture { "could not be captured" } else { "could not be canceled" };
            let mut refusal = error(
                400,
                "invalid_request_error",
                Some("payment_intent_unexpected_state"),
                &format!("This PaymentIntent {what} because it has a status of {}.", intent["status"]),
            );
            refusal.1["error"]["payment_intent"] = intent.clone();
            return refusal;
        }
        if is_capture {
            intent["amount_received"] = intent["amount"].clone();
        } else {
            // A real one calls what was let go refunded.
            intent["latest_charge"]["amount_refunded"] = intent["amount"].clone();
        }
        intent["amount_capturable"] = json!(0);
        intent["status"] = if is_capture { "succeeded" } else { "canceled" }.into();
        let body = intent.clone();
        self.note(if is_capture { "payment_intent.succeeded" } else { "payment_intent.canceled" }, body.clone());
        (200, body)
    }

    fn refund(&mut self, parameters: &Parameters) -> Reply {
        let value = |name: &str| one(parameters, name).unwrap_or_default();
        let (id, amount) = (value("payment_intent"), value("amount").parse::<i64>().unwrap_or_default());
        let number = self.number();
        let Some(intent) =
            self.sessions.values_mut().filter_map(|session| session.intent.as_mut()).find(|intent| intent["id"] == json!(id))
        else {
            return no_such("payment_intent", &id);
        };
        let (received, refunded) =
            (intent["amount_received"].as_i64().unwrap(), intent["latest_charge"]["amount_refunded"].as_i64().unwrap());
        if received == 0 {
            let message = "This PaymentIntent does not have a successful charge to refund.";
            return error(400, "invalid_request_error", Some("charge_not_refundable"), message);
        }
        if refunded == received {
            return error(400, "invalid_request_error", Some("charge_already_refunded"), "Charge has already been refunded.");
        }
        if amount < 1 || refunded + amount > received {
            return error(400, "invalid_request_error", None, "Refund amount is greater than unrefunded amount on charge");
        }
        intent["latest_charge"]["amount_refunded"] = json!(refunded + amount);
        let refund = json!({
            "id": format!("re_{number}"), "object": "refund", "amount": amount, "currency": intent["currency"], "payment_intent": id,
            "status": "succeeded", "metadata": {"refund_id": value("metadata[refund_id]")},
        });
        self.refunds.push(refund.clone());
        self.note("charge.refunded", json!({"id": format!("ch_{number}"), "object": "charge", "payment_intent": id, "metadata": {}}));
        (200, refund)
    }

    /// The newest first; of those before one in the list, the ones next to it.
    fn list_events(&self, parameters: &Parameters) -> Reply {
        let limit: usize = one(parameters, "limit").and_then(|text| text.parse().ok()).unwrap_or(10);
        let kinds: Vec<&str> = parameters.iter().filter(|(name, _)| name == "types[]").map(|(_, kind)| kind.as_str()).collect();
        let wanted = |event: &&Value| kinds.is_empty() || kinds.iter().any(|kind| event["type"] == *kind);
        if !(1..=100).contains(&limit) || kinds.len() > 20 {
            return error(400, "invalid_request_error", None, "Invalid limit or types");
        }
        let (data, has_more): (Vec<&Value>, bool) = match one(parameters, "ending_before") {
            Some(id) => {
                let Some(at) = self.events.iter().position(|event| event["id"] == json!(id)) else { return no_such("event", &id) };
                let later: Vec<&Value> = self.events[at + 1..].iter().filter(wanted).collect();
                (later.iter().take(limit).rev().copied().collect(), later.len() > limit)
            }
            None => {
                let all: Vec<&Value> = self.events.iter().rev().filter(wanted).collect();
                (all.iter().take(limit).copied().collect(), all.len() > limit)
            }
        };
        (200, json!({"object": "list", "has_more": has_more, "data": data}))
    }

    fn note(&mut self, kind: &str, object: Value) {
        let number = self.number();
        self.events.push(json!({"id": format!("evt_{number}"), "object": "event", "type": kind, "data": {"object": object}}));
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }
}

fn one(parameters: &Parameters, name: &str) -> Option<String> {
    parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

fn no_such(what: &str, id: &str) -> Reply {
    error(404, "invalid_request_error", Some("resource_missing"), &format!("No such {what}: '{id}'"))
}

fn error(status: u16, kind: &str, code: Option<&str>, message: &str) -> Reply {
    (status, json!({"error": {"type": kind, "code": code, "message": message}}))
}

fn reply((status, body): Reply, is_replayed: bool) -> HttpResponse {
    let mut response = HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("a status"));
    if is_replayed {
        response.insert_header(("idempotent-replayed", "true"));
    }
    response.json(body)
}
