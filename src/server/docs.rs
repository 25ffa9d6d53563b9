//! The API explained: `/openapi.json`, Swagger UI at `/docs/`, and what each problem code means. All of it is in the
//! binary: nothing is fetched from elsewhere.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use super::{Surface, openapi};
use crate::http::problem::{Code, Problem};
use crate::http::routes::{Traffic, compressed, get, resource};

/// Swagger UI sets styles from its script and shows pictures that it carries with it.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; frame-ancestors 'none'";

/// The routes of the documentation of a surface.
pub(crate) fn docs(routes: &mut web::ServiceConfig, surface: Surface) {
    let document = move || std::future::ready(json(document(surface)));
    routes
        .service(compressed(resource("/openapi.json", Traffic::Ordinary, vec![get(document)])))
        .service(resource("/docs", Traffic::Ordinary, vec![get(to_index)]))
        .service(resource("/docs/problems", Traffic::Ordinary, vec![get(problems)]))
        .service(compressed(resource("/docs/{file:.*}", Traffic::Ordinary, vec![get(swagger_ui)])));
}

/// The document of a surface, made the first time it is asked for.
fn document(surface: Surface) -> &'static str {
    static DOCUMENTS: [OnceLock<String>; 3] = [const { OnceLock::new() }; 3];
    DOCUMENTS[surface as usize].get_or_init(|| openapi::document(surface))
}

fn json(document: &'static str) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-cache")).body(document)
}

async fn to_index() -> HttpResponse {
    // Relative: a proxy may serve this under a prefix.
    HttpResponse::MovedPermanently().insert_header((header::LOCATION, "docs/")).finish()
}

async fn swagger_ui(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let config = Arc::new(utoipa_swagger_ui::Config::from("../openapi.json"));
    let file = request.match_info().get("file").unwrap_or_default();
    let found = utoipa_swagger_ui::serve(file, config).map_err(|error| Problem::Internal(error.to_string()))?;
    let file = found.ok_or(Problem::NotFound)?;
    Ok(page(&file.content_type, file.bytes.into_owned()))
}

/// Every code, its status and what it means.
async fn problems() -> HttpResponse {
    page("text/html; charset=utf-8", problems_page().into_bytes())
}

fn page(content_type: &str, body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_POLICY)))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(body)
}

fn problems_page() -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Doorbuster: problem codes</title>\
         <style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
         dt{margin-top:1rem}dt:target{background:#ffe08a}code{font-size:1.05em}dd{margin:0}</style>\
         <h1>Problem codes</h1><p>Refusals are problem documents (RFC 9457). Branch on <code>code</code>: codes are added, \
         never renamed.</p><dl>",
    );
    for code in Code::ALL {
        let (word, status, title) = (code.word(), code.status().as_u16(), code.title());
        let meaning = in_html(code.meaning());
        // Writing to a text cannot fail.
        let _ = write!(page, "<dt id=\"{word}\"><code>{word}</code> &middot; {status} &middot; {title}</dt><dd>{meaning}</dd>");
    }
    page.push_str("</dl></html>");
    page
}

/// A sentence with `code` marked by backticks.
fn in_html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let mut parts = escaped.split('`').enumerate();
    parts
        .by_ref()
        .fold(String::new(), |page, (at, part)| page + &if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_problems_has_a_place_for_every_type() {
        let page = problems_page();
        for code in Code::ALL {
            let place = code.type_uri().strip_prefix("/docs/problems#").unwrap();
            assert!(page.contains(&format!("id=\"{place}\"")), "{place}");
        }
        assert_eq!(in_html("see `a < b` now"), "see <code>a &lt; b</code> now");
    }

    #[actix_web::test]
    async fn swagger_ui_is_in_the_binary() {
        let config = Arc::new(utoipa_swagger_ui::Config::from("../openapi.json"));
        for file in ["", "swagger-ui.css", "swagger-ui-bundle.js"] {
            assert!(utoipa_swagger_ui::serve(file, Arc::clone(&config)).unwrap().is_some(), "{file}");
        }
        let script = utoipa_swagger_ui::serve("swagger-initializer.js", config).unwrap().unwrap();
        assert!(String::from_utf8_lossy(&script.bytes).contains("../openapi.json"));
    }
}
