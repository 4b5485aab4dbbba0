//! Every path of the admin listener, with what it needs: the router is built from this table and from nothing else, so
//! there is no path without a rule.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};

use super::audit::{self, AuditQuery};
use super::events::{RecentQuery, StreamQuery};
use super::openapi::{self, Description};
use super::problem::Problem;
use super::role::{Need, Role};
use super::view::{
    Acknowledge, AlertQuery, AlertRuleView, AlertView, AskConfig, AskFailback, AskFailover, AskReload, AskReset,
    AuditRecord, AuditVerification, Changed, ConfigAnswer, ConfigView, DeadLetterQuery, DeadLetterView, DiffQuery,
    DiffView, FailoverAnswer, FailoverQuery, FailoverView, GenerationText, GenerationView, MakeSilence,
    OperatorStateSet, PageQuery, PendingView, Readiness, ReceiverTest, ReceiverView, SetOperatorState, SetPriority,
    SetStrategy, SetWeight, SilenceView, SlaQuery, SlaReport, SlaReportQuery, SlaView, SpoolSummary, StatusView,
    TrendQuery, TrendsView, Validation, WhichDeadLetters,
};
use super::{
    AdminState, access, alerts, backup, config, dashboard, dead_letters, events, failovers, masters, receivers,
    settings, sla, spool, state, trends,
};
use crate::config::TEXT_BYTES_MAX;
use crate::events::Event;

/// One method of one path.
pub struct Endpoint {
    pub method: Method,
    /// With `{names}` for what varies.
    pub path: &'static str,
    pub need: Need,
    /// From the end of a request's headers to the start of its answer, the arrival of its body included.
    patience: Duration,
    handler: MethodRouter<Arc<AdminState>>,
    /// For the description of the API.
    pub description: Option<Description>,
}

/// What most requests may take: a client that sends its body slowly must not keep its place.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may go through every stored message.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

const OPEN: Need = Need::Nothing;
const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// The table.
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        read("/", OPEN, get(dashboard::page)),
        read("/assets/{name}", OPEN, get(dashboard::asset)),
        read("/healthz", OPEN, get(async || "ok\n"))
            .says(Description::new("Whether the process lives").answer_text("text/plain")),
        read("/readyz", OPEN, get(state::readyz))
            .says(Description::new("Whether it can take traffic").answer::<Readiness>()),
        read("/metrics", OPEN, get(state::metrics))
            .says(Description::new("Metrics for Prometheus").answer_text("text/plain")),
        read("/api/v1/status", VIEWER, get(state::status))
            .says(Description::new("How everything stands").answer::<StatusView>()),
        read("/api/v1/trends", VIEWER, get(trends::trends))
            .says(Description::new("What was measured over time").query::<TrendQuery>().answer::<TrendsView>()),
        read("/api/v1/sla", VIEWER, get(sla::show)).says(
            Description::new("Availability, objectives and their budgets").query::<SlaQuery>().answer::<SlaView>(),
        ),
        read("/api/v1/sla/report", VIEWER, get(sla::report)).says(
            Description::new("The report of a month")
                .query::<SlaReportQuery>()
                .answer::<SlaReport>()
                .answer_text("text/csv")
                .answer_text("text/html"),
        ),
        change(
            "/api/v1/upstreams/{upstream}/masters/{master}/operator-state",
            OPERATOR,
            on(MethodFilter::POST, masters::set_operator_state),
        )
        .says(
            Description::new("Sets what a master is used for").body::<SetOperatorState>().answer::<OperatorStateSet>(),
        ),
        change("/api/v1/upstreams/{upstream}/strategy", OPERATOR, on(MethodFilter::POST, settings::strategy)).says(
            Description::new("Sets how an upstream's masters are picked")
                .body::<SetStrategy>()
                .answer::<ConfigAnswer>(),
        ),
        change(
            "/api/v1/upstreams/{upstream}/masters/{master}/weight",
            OPERATOR,
            on(MethodFilter::POST, settings::weight),
        )
        .says(Description::new("Sets a master's part of the load").body::<SetWeight>().answer::<ConfigAnswer>()),
        change(
            "/api/v1/upstreams/{upstream}/masters/{master}/priority",
            OPERATOR,
            on(MethodFilter::POST, settings::priority),
        )
        .says(Description::new("Sets how preferred a master is").body::<SetPriority>().answer::<ConfigAnswer>()),
        read("/api/v1/events", VIEWER, get(events::follow)).says(
            Description::new("What happens, as server-sent events")
                .query::<StreamQuery>()
                .answer_text("text/event-stream"),
        ),
        read("/api/v1/events/recent", VIEWER, get(events::recent))
            .says(Description::new("What happened, the newest first").query::<RecentQuery>().answer_page::<Event>()),
        read("/api/v1/audit", VIEWER, get(audit::list)).says(
            Description::new("The audit trail, the newest first").query::<AuditQuery>().answer_page::<AuditRecord>(),
        ),
        read("/api/v1/audit/verify", VIEWER, get(audit::verify))
            .says(Description::new("Whether the audit trail is as it was written").answer::<AuditVerification>()),
        read("/api/v1/audit/export", VIEWER, get(audit::export))
            .says(Description::new("The audit trail, a line for each record").answer_text("application/x-ndjson")),
        change("/api/v1/upstreams/{upstream}/failover", OPERATOR, on(MethodFilter::POST, failovers::failover))
            .says(Description::new("Has another master take over").body::<AskFailover>().answer::<FailoverAnswer>()),
        change("/api/v1/upstreams/{upstream}/failback", OPERATOR, on(MethodFilter::POST, failovers::failback)).says(
            Description::new("Has the preferred master take over again")
                .body::<AskFailback>()
                .answer::<FailoverAnswer>(),
        ),
        change("/api/v1/upstreams/{upstream}/reset", OPERATOR, on(MethodFilter::POST, failovers::reset))
            .says(Description::new("Has given-up masters tried again").body::<AskReset>().answer::<FailoverAnswer>()),
        read("/api/v1/failovers", VIEWER, get(failovers::list)).says(
            Description::new("Failovers, the newest first").query::<FailoverQuery>().answer_page::<FailoverView>(),
        ),
        read("/api/v1/alerts", VIEWER, get(alerts::list))
            .says(Description::new("Alerts that go on").query::<AlertQuery>().answer_page::<AlertView>()),
        read("/api/v1/alerts/history", VIEWER, get(alerts::history))
            .says(Description::new("Alerts that have ended").query::<AlertQuery>().answer_page::<AlertView>()),
        read("/api/v1/alerts/rules", VIEWER, get(alerts::rules))
            .says(Description::new("The rules of alerts").query::<PageQuery>().answer_page::<AlertRuleView>()),
        read("/api/v1/alerts/receivers", VIEWER, get(receivers::list))
            .says(Description::new("Who is told of alerts").query::<PageQuery>().answer_page::<ReceiverView>()),
        change("/api/v1/alerts/receivers/{name}/test", OPERATOR, on(MethodFilter::POST, receivers::test))
            .says(Description::new("Tries whether a receiver can be told").answer::<ReceiverTest>()),
        read("/api/v1/alerts/silences", VIEWER, get(alerts::silences))
            .says(Description::new("Silences").query::<PageQuery>().answer_page::<SilenceView>()),
        change("/api/v1/alerts/silences", OPERATOR, on(MethodFilter::POST, alerts::silence))
            .says(Description::new("Makes a silence").body::<MakeSilence>().answer::<SilenceView>()),
        remove("/api/v1/alerts/silences/{id}", OPERATOR, on(MethodFilter::DELETE, alerts::unsilence))
            .says(Description::new("Ends a silence").answer::<SilenceView>()),
        change("/api/v1/alerts/{id}/acknowledge", OPERATOR, on(MethodFilter::POST, alerts::acknowledge)).says(
            Description::new("Says that somebody looks after an alert").body::<Acknowledge>().answer::<AlertView>(),
        ),
        read("/api/v1/config", OPERATOR, get(config::show))
            .says(Description::new("The configuration in use, without secrets").answer::<ConfigView>()),
        change("/api/v1/config/validate", OPERATOR, on(MethodFilter::POST, config::validate).layer(text())).says(
            Description::new("What is wrong with a configuration").body_text("text/plain").answer::<Validation>(),
        ),
        change("/api/v1/config/reload", OPERATOR, on(MethodFilter::POST, config::reload))
            .says(Description::new("Takes up the configuration's file").body::<AskReload>().answer::<ConfigAnswer>()),
        read("/api/v1/generations", VIEWER, get(config::list)).says(
            Description::new("Configurations that were in use").query::<PageQuery>().answer_page::<GenerationView>(),
        ),
        read("/api/v1/generations/{number}", OPERATOR, get(config::generation))
            .says(Description::new("One of them, with its text").numbered().answer::<GenerationText>()),
        read("/api/v1/generations/{number}/diff", VIEWER, get(config::diff))
            .says(Description::new("What differs between two").numbered().query::<DiffQuery>().answer::<DiffView>()),
        change("/api/v1/generations/{number}/rollback", OPERATOR, on(MethodFilter::POST, config::rollback))
            .says(Description::new("Brings one back").numbered().body::<AskConfig>().answer::<ConfigAnswer>()),
        read("/api/v1/spool", VIEWER, get(spool::summary))
            .says(Description::new("How the store of messages stands").answer::<SpoolSummary>()),
        read("/api/v1/spool/messages", VIEWER, get(spool::messages)).says(
            Description::new("Messages that wait, the oldest first").query::<PageQuery>().answer_page::<PendingView>(),
        ),
        read("/api/v1/dead-letters", VIEWER, get(dead_letters::list)).says(
            Description::new("Messages that were given up").query::<DeadLetterQuery>().answer_page::<DeadLetterView>(),
        ),
        read("/api/v1/dead-letters/{id}", VIEWER, get(dead_letters::show))
            .says(Description::new("One of them").numbered().answer::<DeadLetterView>()),
        change("/api/v1/dead-letters/replay", OPERATOR, on(MethodFilter::POST, dead_letters::replay))
            .long()
            .says(Description::new("Has them delivered after all").body::<WhichDeadLetters>().answer::<Changed>()),
        change("/api/v1/dead-letters/discard", OPERATOR, on(MethodFilter::POST, dead_letters::discard))
            .long()
            .says(Description::new("Removes them").body::<WhichDeadLetters>().answer::<Changed>()),
        change("/api/v1/backup", ADMIN, on(MethodFilter::POST, backup::backup))
            .long()
            .says(Description::new("A copy of everything that is stored").answer_text("application/octet-stream")),
        read("/api/v1/openapi.json", VIEWER, get(openapi::show))
            .says(Description::new("This description").answer::<serde_json::Value>()),
    ]
}

/// A configuration may be larger than what is asked otherwise.
fn text() -> DefaultBodyLimit {
    DefaultBodyLimit::max(TEXT_BYTES_MAX)
}

/// Every path, guarded.
pub(super) fn router(state: &Arc<AdminState>) -> Router<Arc<AdminState>> {
    endpoints().into_iter().fold(Router::new(), |router, endpoint| {
        let guard = middleware::from_fn_with_state((Arc::clone(state), endpoint.need), access::guard);
        let in_time = middleware::from_fn_with_state(endpoint.patience, in_time);
        router.route(endpoint.path, endpoint.handler.route_layer(guard).route_layer(in_time))
    })
}

/// Ends what takes too long.
async fn in_time(State(patience): State<Duration>, request: Request, next: Next) -> Response {
    let too_slow = |_| {
        let detail = format!("the request took longer than {} s", patience.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
    };
    tokio::time::timeout(patience, next.run(request)).await.unwrap_or_else(too_slow)
}

impl Endpoint {
    fn long(self) -> Self {
        Self { patience: LONG_PATIENCE, ..self }
    }

    fn says(self, description: Description) -> Self {
        Self { description: Some(description), ..self }
    }
}

fn read(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::GET, path, need, patience: PATIENCE, handler, description: None }
}

fn change(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::POST, path, need, patience: PATIENCE, handler, description: None }
}

fn remove(path: &'static str, need: Need, handler: MethodRouter<Arc<AdminState>>) -> Endpoint {
    Endpoint { method: Method::DELETE, path, need, patience: PATIENCE, handler, description: None }
}
