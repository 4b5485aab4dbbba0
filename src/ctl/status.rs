//! `baton ctl status`: how the masters are, as a table.

use super::client::Client;
use super::table::{Table, duration, printable};
use super::{Answer, Failure};
use crate::admin::view::{Circuit, Health, MasterView, Role, StatusView};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it anew each second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

pub async fn run(client: &Client) -> Result<Answer, Failure> {
    let (json, status) = read(client).await?;
    Ok(Answer { text: text(&status, false), json })
}

/// The status, as it came and as it is understood.
pub async fn read(client: &Client) -> Result<(serde_json::Value, StatusView), Failure> {
    // Printed as JSON with whatever a newer Baton says beyond what is known here.
    let json: serde_json::Value = client.get("/api/v1/status").await?;
    let status: StatusView = serde_json::from_value(json.clone())
        .map_err(|error| Failure::Failed(format!("what answers is no Baton of this version: {error}")))?;
    Ok((json, status))
}

/// For people; `narrow` has the columns that say whether all is well.
pub fn text(status: &StatusView, narrow: bool) -> String {
    let mut text = format!(
        "Baton {}, generation {}, up {}, health score {}\n",
        status.version,
        status.generation,
        duration(status.uptime_seconds),
        status.health_score,
    );
    for reason in status.standing.iter().flat_map(|standing| &standing.reasons) {
        text.push_str(&format!("  -{} {}\n", reason.points, super::table::printable(&reason.text)));
    }
    if let Some(number) = status.rolled_back_to {
        text.push_str(&format!("generation {number} was brought back, and is used until the file changes\n"));
    }
    if status.set_at_run_time {
        text.push_str("settings were changed at run time, and are used until the file changes\n");
    }
    if let Some(error) = &status.config_error {
        text.push_str(&format!("The newest configuration was refused: {}\n", printable(error)));
    }
    let spool = &status.spool;
    if spool.pending > 0 || spool.dead_letters > 0 {
        let oldest = duration(spool.oldest_seconds);
        text.push_str(&format!(
            "Spool: {} pending, the oldest for {oldest}; {} dead letters\n",
            spool.pending, spool.dead_letters
        ));
    }
    if let Some(full) = &spool.full {
        text.push_str(&format!("Spool: FULL, webhooks are answered 503; the limit is {}\n", printable(full)));
    }
    if let Some(failed) = &spool.failed {
        text.push_str(&format!("Spool: FAILED, nothing is accepted any more: {}\n", printable(failed)));
    }
    let columns = [
        "UPSTREAM",
        "MASTER",
        "ADDRESS",
        "HEALTH",
        "STATE",
        "CIRCUIT",
        "ROLE",
        ">IN FLIGHT",
        ">QUEUED",
        ">REQUESTS",
        ">FAILURES",
        ">MEAN MS",
        ">P99 MS",
        ">PENDING",
        "NOTE",
    ];
    let shown = |index: &usize| !narrow || NARROW.contains(&columns[*index]);
    let shown: Vec<usize> = (0..columns.len()).filter(shown).collect();
    let mut table = Table::new(&shown.iter().map(|index| columns[*index]).collect::<Vec<_>>());
    for upstream in &status.upstreams {
        for master in &upstream.masters {
            let row = row(&upstream.name, master);
            table.row(&shown.iter().map(|index| row[*index].clone()).collect::<Vec<_>>());
        }
    }
    text.push_str(&failovers(status));
    text.push('\n');
    text.push_str(&table.text());
    text
}

/// Columns for where there is little room.
const NARROW: [&str; 7] = ["UPSTREAM", "MASTER", "HEALTH", "STATE", ">REQUESTS", ">FAILURES", "NOTE"];

/// Who serves what, a line for each upstream with `failover` and each of its accounts.
fn failovers(status: &StatusView) -> String {
    let mut text = String::new();
    for upstream in &status.upstreams {
        for group in upstream.failover.iter().flat_map(|failover| &failover.groups) {
            let accounts = match &group.accounts[..] {
                [] => String::new(),
                [account] => format!(" account {account}"),
                [first, rest @ ..] => format!(" account {first} and {} more", rest.len()),
            };
            let active = group.active.as_deref().unwrap_or("nobody");
            let leaving =
                group.leaving.as_ref().map_or_else(String::new, |from| format!(", conversations leave {from}"));
            let state = match (&*group.state, &*group.cause) {
                ("steady", _) => String::new(),
                (state, cause) => format!(", {state}: {cause}"),
            };
            let line = format!(
                "{}{accounts}: {active} is active (epoch {}), {} stand by{leaving}{state}",
                upstream.name, upstream.epoch, group.standbys
            );
            text.push_str(&super::table::printable(&line));
            text.push('\n');
        }
    }
    text
}

fn row(upstream: &str, master: &MasterView) -> Vec<String> {
    let health = match master.health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Degraded => "degraded",
        Health::Failed => "failed",
    };
    let circuit = match master.circuit {
        Circuit::Closed => "closed",
        Circuit::Open => "open",
        Circuit::HalfOpen => "half-open",
    };
    let role = match master.role {
        Role::Active => "active",
        Role::Standby => "standby",
        Role::Fenced => "fenced",
    };
    vec![
        upstream.to_owned(),
        master.name.clone(),
        master.address.clone(),
        health.to_owned(),
        master.operator_state.word().to_owned(),
        circuit.to_owned(),
        role.to_owned(),
        master.in_flight.to_string(),
        master.queued.to_string(),
        master.requests.to_string(),
        master.failures.to_string(),
        format!("{:.1}", master.latency_ms),
        format!("{:.1}", master.latency_p99_ms),
        master.pending.to_string(),
        notes(master),
    ]
}

fn notes(master: &MasterView) -> String {
    let recovery = master.recovery.as_ref().map_or("", |recovery| &recovery.state);
    let all = [
        (master.dead, "refuses connections"),
        (master.suspect, "silent"),
        (master.ejected, "ejected"),
        (recovery == "on-trial", "on trial"),
        (recovery == "waiting", "held back"),
        (recovery == "given-up", "given up: reset it"),
    ];
    let notes: Vec<&str> = all.iter().filter(|(holds, _)| *holds).map(|(_, note)| *note).collect();
    notes.join(", ")
}
