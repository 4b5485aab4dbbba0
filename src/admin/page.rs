//! The start page: where to go.

use axum::response::Html;

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Baton</title>
<h1>Baton</h1>
<ul>
<li><a href=\"/api/v1/status\">/api/v1/status</a>: listeners, upstreams and masters as JSON
<li><a href=\"/metrics\">/metrics</a>: for Prometheus
<li><a href=\"/readyz\">/readyz</a>: whether this process can take traffic, and if not, why
<li><a href=\"/healthz\">/healthz</a>: whether this process lives
</ul>
</html>
";

pub async fn page() -> Html<&'static str> {
    Html(PAGE)
}
