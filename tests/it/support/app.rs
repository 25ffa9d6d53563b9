//! The real app on a port of its own with a database of its own, and a client that speaks JSON to it.

use std::sync::Arc;

use doorbuster::auth::Authenticator;
use doorbuster::clock;
use doorbuster::config::Config;
use doorbuster::domain::UserId;
use doorbuster::embedded::App;
use doorbuster::routing::Router;
use doorbuster::store::{Role, Store};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{Backend, TestDatabase};

/// The secret of every test's tokens.
pub const SECRET: &str = "a secret for tests that is long enough";

/// A running Doorbuster.
pub struct TestApp {
    app: App,
    config: Config,
    data: tempfile::TempDir,
    database: Arc<TestDatabase>,
    client: reqwest::Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: header::HeaderMap,
    /// The body as JSON; null when there is none or it is something else.
    pub body: Value,
}

impl Answer {
    /// Status and problem code, to compare in one line.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or("no code"))
    }
}

impl TestApp {
    /// The app without rate limits.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, |_| {}).await
    }

    /// The app with a changed configuration.
    pub async fn start_with(backend: Backend, change: impl FnOnce(&mut Config)) -> Self {
        let database = Arc::new(TestDatabase::empty(backend).await);
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(database.url());
        change(&mut config);
        let app = App::start(&config, data.path()).await.expect("the app starts");
        Self { app, config, data, database, client: client() }
    }

    /// A second app on the same database, with a data folder of its own: what should never be, and must not oversell.
    pub async fn another_process(&self) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        let app = App::start(&self.config, data.path()).await.expect("the other app starts");
        Self { app, config: self.config.clone(), data, database: Arc::clone(&self.database), client: client() }
    }

    /// Stops in order and starts again on the same database.
    pub async fn restart(self) -> Self {
        let Self { app, config, data, database, client } = self;
        app.stop().await;
        let app = App::start(&config, data.path()).await.expect("the app starts again");
        Self { app, config, data, database, client }
    }

    /// Stops in order; the database is still there until the value is dropped.
    pub async fn stop(self) -> (Arc<TestDatabase>, tempfile::TempDir) {
        self.app.stop().await;
        (self.database, self.data)
    }

    /// Runs SQL behind its back.
    pub async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// The way of commands.
    pub fn router(&self) -> &Router {
        self.app.router()
    }

    /// A store of its own on the same database.
    pub async fn store(&self) -> Store {
        self.database.store().await
    }

    /// The database.
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Where it listens, like `http://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        format!("http://{}", self.app.address())
    }

    /// The address and port.
    pub fn address(&self) -> std::net::SocketAddr {
        self.app.address()
    }

    /// A buyer's token.
    pub fn buyer(&self, user: i64) -> String {
        self.mint(user, Role::Buyer)
    }

    /// An operator's token.
    pub fn operator(&self) -> String {
        self.mint(1, Role::Admin)
    }

    /// A token with any role, as `doorbuster token` mints it.
    pub fn mint(&self, user: i64, role: Role) -> String {
        let authenticator = Authenticator::new(&self.config.auth, &SECRET.to_owned().into()).expect("the secret is long enough");
        authenticator.mint(UserId::new(user).expect("a positive id"), role, clock::system())
    }

    /// A request to build on.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the app answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("the body arrives");
        Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// GET without a token.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// GET with a token.
    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// POST of JSON with a token.
    pub async fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).bearer_auth(token).json(body)).await
    }

    /// PATCH of JSON with a token.
    pub async fn patch_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).bearer_auth(token).json(body)).await
    }

    /// DELETE with a token.
    pub async fn delete_as(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path).bearer_auth(token)).await
    }

    /// Places an order for a buyer.
    pub async fn place(&self, user: i64, commodity: i64, body: &Value) -> Answer {
        self.post_as(&self.buyer(user), &format!("/v1/commodities/{commodity}/orders"), body).await
    }

    /// Places an order for a buyer under a key.
    pub async fn place_under_key(&self, user: i64, commodity: i64, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, &format!("/v1/commodities/{commodity}/orders"));
        self.send(request.bearer_auth(self.buyer(user)).header("Idempotency-Key", key).json(body)).await
    }

    /// Lists a commodity that is on sale now; its fields can be changed by `with`. Returns its id.
    pub async fn list(&self, total: i64, with: Value) -> i64 {
        let answer = self.post_as(&self.operator(), "/admin/v1/commodities", &commodity_body(total, with)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        answer.body["id"].as_i64().or(answer.body["commodity_id"].as_i64()).expect("an id")
    }

    /// The books of a commodity as an operator sees them: total, available, held, sold.
    pub async fn books(&self, commodity: i64) -> [i64; 4] {
        let answer = self.get_as(&self.operator(), &format!("/admin/v1/commodities/{commodity}")).await;
        ["total", "available", "held", "sold"].map(|field| answer.body[field].as_i64().unwrap_or(-1))
    }

    /// Asserts that counters and order rows of every commodity agree.
    pub async fn assert_balanced(&self) {
        let answer = self.get_as(&self.operator(), "/admin/v1/audit").await;
        assert_eq!(answer.body["balanced"], json!(true), "{:?}", answer.body);
    }
}

/// The body that lists a commodity on sale now.
pub fn commodity_body(total: i64, with: Value) -> Value {
    let mut body = json!({
        "name": "lamp", "description": "a lamp", "price": 4_999, "currency": "EUR", "total": total,
        "limit_per_user": null, "hold_seconds": null,
        "starts_at": "2020-01-01T00:00:00.000Z", "ends_at": "2099-01-01T00:00:00.000Z",
    });
    for (field, value) in with.as_object().expect("an object") {
        body[field] = value.clone();
    }
    body
}

/// A configuration for tests: port 0, no rate limits, a known secret.
pub fn config(database_url: &str) -> Config {
    let mut config = Config::load(None).expect("the defaults are a configuration");
    config.http.listen = "127.0.0.1:0".parse().expect("an address");
    config.http.workers = 1;
    config.limits.enabled = false;
    config.auth.jwt_secret = Some(SECRET.to_owned().into());
    config.database.url = Some(database_url.to_owned().into());
    config
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(30)).build().expect("a client")
}
