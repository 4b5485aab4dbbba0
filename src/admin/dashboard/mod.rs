//! The dashboard: a page without a build step, in files that the binary carries.
//!
//! Nothing in it is filled in here, so it is the same for everybody and needs no token; what it shows it asks the API for. It loads
//! nothing from elsewhere, and its policy forbids it to: no script, style or text that others have a hand in can become code.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// What the page may do (Content Security Policy Level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type and content.
type Asset = (&'static str, &'static str, &'static str);

macro_rules! scripts {
    ($($name:literal)*) => { [$(($name, SCRIPT, include_str!(concat!("page/", $name)))),*] };
}

const PAGE: &str = include_str!("page/index.html");
const STYLE: Asset = ("style.css", "text/css; charset=utf-8", include_str!("page/style.css"));
const ICON: Asset = ("icon.svg", "image/svg+xml", include_str!("page/icon.svg"));
const SCRIPTS: [Asset; 23] = scripts!(
    "main.js" "dom.js" "format.js" "api.js" "live.js" "plot.js" "words.js" "overview.js" "masters.js" "flow.js" "timeline.js"
    "messages.js" "actions.js" "session.js" "sla.js" "alerts.js" "confirm.js" "takeover.js" "failovers.js"
    "audit.js" "save.js" "settings.js" "receivers.js"
);

/// `GET /`.
pub async fn page() -> Response {
    serve("text/html; charset=utf-8", PAGE)
}

/// `GET /assets/{name}`.
pub async fn asset(Path(name): Path<String>) -> Response {
    match SCRIPTS.iter().chain([&STYLE, &ICON]).find(|(known, _, _)| *known == name) {
        Some((_, kind, content)) => serve(kind, content),
        None => Problem::new(StatusCode::NOT_FOUND, "there is no such file".to_owned()).into_response(),
    }
}

fn serve(kind: &'static str, content: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::StrategyKind;

    /// What a page may weigh that opens at once over a bad line.
    const BYTES_MAX: usize = 200_000;

    fn files() -> impl Iterator<Item = &'static Asset> {
        SCRIPTS.iter().chain([&STYLE, &ICON])
    }

    #[test]
    fn the_whole_page_is_small() {
        let bytes: usize = files().map(|(_, _, content)| content.len()).sum::<usize>() + PAGE.len();
        assert!(bytes < BYTES_MAX, "{bytes}");
    }

    #[test]
    fn every_file_that_is_asked_for_is_there_and_every_file_is_asked_for() {
        let is_named = |name: &str| {
            let (asset, import) = (format!("\"/assets/{name}\""), format!("from \"./{name}\""));
            PAGE.contains(&asset) || files().any(|(_, _, content)| content.contains(&import))
        };
        assert!(files().all(|(name, _, _)| is_named(name)));
        for (file, _, content) in files() {
            for import in content.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(files().any(|(name, _, _)| *name == import), "{file} imports {import}");
            }
        }
    }

    #[test]
    fn every_strategy_can_be_chosen() {
        let words = StrategyKind::ALL.map(|(_, word)| format!("\"{word}\"")).join(", ");
        let (_, _, settings) = files().find(|(name, _, _)| *name == "settings.js").unwrap();
        assert!(settings.contains(&format!("STRATEGIES = [{words}];")), "{words}");
    }

    #[test]
    fn nothing_in_it_becomes_markup_and_nothing_comes_from_elsewhere() {
        for (name, _, content) in files() {
            for way in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"]
            {
                assert!(!content.contains(way), "{name} has {way}");
            }
            let foreign = content.split("http").skip(1).any(|rest| {
                rest.starts_with("://") || (rest.starts_with("s://") && !rest.starts_with("s://www.w3.org"))
            });
            let own_words = *name == "dom.js" || *name == "icon.svg";
            assert!(own_words || !foreign, "{name} has an address elsewhere");
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains("onclick") && !PAGE.contains(" style="));
    }
}
