//! Built-in accounts over HTTP, as whoever has one uses them; and processes of a cluster that answer their logins.

use std::net::SocketAddr;

use doorbuster::cluster::AdminNode;
use doorbuster::config::Config;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::app::{Answer, SECRET, TestApp};
use super::{Backend, TestDatabase};

/// The password of every test's accounts.
pub const PASSWORD: &str = "correct horse battery";

/// A server and how to speak to it.
pub struct Door {
    url: String,
    client: reqwest::Client,
}

impl Door {
    /// Of the app.
    pub fn of(app: &TestApp) -> Self {
        Self::at(app.address())
    }

    /// Of whatever listens there.
    pub fn at(address: SocketAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(60)).build().expect("a client");
        Self { url: format!("http://{address}"), client }
    }

    /// A request to build on.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Sends it and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.expect("the body arrives");
        Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// GET with a token.
    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    /// POST of JSON with a token.
    pub async fn post_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).bearer_auth(token).json(body)).await
    }

    /// Makes an account; its id.
    pub async fn register(&self, username: &str) -> i64 {
        let body = json!({"username": username, "password": PASSWORD});
        let made = self.send(self.request(Method::POST, "/v1/auth/register").json(&body)).await;
        assert_eq!(made.status.as_u16(), 201, "{:?}", made.body);
        number(&made.body["user_id"])
    }

    /// Tries to log in.
    pub async fn login(&self, username: &str, password: &str) -> Answer {
        self.send(self.request(Method::POST, "/v1/auth/login").json(&json!({"username": username, "password": password}))).await
    }

    /// The same through a trusted proxy, from that address.
    pub async fn login_from(&self, address: &str, username: &str, password: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/auth/login").header("X-Forwarded-For", address);
        self.send(request.json(&json!({"username": username, "password": password}))).await
    }

    /// Logs in; the token.
    pub async fn token(&self, username: &str, password: &str) -> String {
        token_of(&self.login(username, password).await)
    }

    /// Changes a password.
    pub async fn change_password(&self, token: &str, current: &str, new: &str) -> Answer {
        self.post_as(token, "/v1/auth/password", &json!({"current_password": current, "new_password": new})).await
    }

    /// Gives an account another role.
    pub async fn give_role(&self, admin: &str, id: i64, role: &str) -> Answer {
        self.send(self.request(Method::PATCH, &format!("/admin/v1/users/{id}")).bearer_auth(admin).json(&json!({"role": role}))).await
    }
}

/// An account's number, whether it is told as one or as a text.
pub fn number(id: &Value) -> i64 {
    id.to_string().trim_matches('"').parse().expect("a number")
}

/// The token in a session.
pub fn token_of(session: &Answer) -> String {
    assert_eq!(session.status.as_u16(), 200, "{:?}", session.body);
    session.body["access_token"].as_str().expect("a token").to_owned()
}

/// The operators' processes of a cluster: they answer logins, and need no broker.
pub struct Admins {
    pub database: TestDatabase,
    pub config: Config,
    nodes: Vec<AdminNode>,
}

impl Admins {
    /// So many, on a fresh database.
    pub async fn start(count: usize, change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::migrated(Backend::Mysql).await;
        let mut config = super::app::config(database.url());
        config.admin.listen = config.http.listen.clone();
        config.auth.internal_secret = Some(SECRET.to_owned().into());
        change(&mut config);
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(AdminNode::start(&config).await.expect("the process starts"));
        }
        Self { database, config, nodes }
    }

    /// One of them.
    pub fn door(&self, index: usize) -> Door {
        Door::at(self.nodes[index].address())
    }

    /// An account in the tables: the operators' process registers none.
    pub async fn account(&self, username: &str) -> i64 {
        let hash = doorbuster::auth::Hasher::new(1).hash(PASSWORD.parse().expect("a password")).await.expect("it is hashed");
        let store = self.database.store().await;
        let made = store.create_account(username, &hash, doorbuster::store::Role::Buyer, doorbuster::clock::system()).await;
        let id = made.expect("the database answers").expect("the name is free").id.get();
        store.close().await.expect("nothing is under way");
        id
    }

    /// Stops all of them.
    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}
