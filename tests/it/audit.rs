//! The audit trail: whole, and known not to be where somebody changed it.

use std::path::{Path, PathBuf};

use baton::audit::chain::Record;
use baton::audit::files::files;
use baton::sample::client;
use serde_json::Value;

use super::admin::{baton as program, token};
use super::kit::directory::Directory;
use super::kit::process::Stream;
use super::kit::{Baton, Config, among_others, eventually, masters};

fn trail(state: &Path) -> Vec<PathBuf> {
    files(&state.join("data/audit")).unwrap()
}

/// `baton ctl ARGUMENTS` as ann, who has this token; its exit code, and what it printed.
pub fn ctl(baton: &Baton, token: &str, arguments: &[&str]) -> (i32, String) {
    let admin = format!("http://{}", baton.admin);
    printed(&program(&[&["ctl", "--admin", &admin, "--token", token], arguments].concat()))
}

fn printed(output: &std::process::Output) -> (i32, String) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), text)
}

fn offline(directory: &Directory, arguments: &[&str]) -> (i32, String) {
    let path = directory.path().join("data/audit");
    printed(&program(&[&["audit", "verify", path.to_str().unwrap()], arguments].concat()))
}

async fn audit(baton: &Baton, query: &str) -> Value {
    let (status, body) = client::get(baton.admin, &format!("/api/v1/audit{query}")).await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn actions(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|record| record["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_change_and_refusal_is_on_disk_and_a_kill_loses_none_that_was_answered() {
    let _machine = among_others().await;
    let masters = masters(["a", "b"]).await;
    let config = Config::of(&masters);
    let baton = Baton::start(&config).await;
    let (operator, viewer) = (token(&baton.config_path(), "operator"), token(&baton.config_path(), "viewer"));
    assert_eq!(ctl(&baton, &operator, &["drain", "a", "--reason", "a new disk"]).0, 0);
    assert_eq!(ctl(&baton, &viewer, &["ready", "a"]).0, 1);
    baton.write(&config.clone().top("drain_timeout: 7s"));
    baton.hang_up();
    eventually("the reload is recorded", async || {
        (actions(&audit(&baton, "?action=config.reload").await).len() == 1).then_some(())
    })
    .await;
    assert_eq!(ctl(&baton, &operator, &["maintenance", "b"]).0, 0);
    let directory = baton.kill().await;

    let (code, text) = offline(&directory, &[]);
    assert!(code == 0 && text.contains("is whole: 5 records, 1 to 5"), "{text}");
    let baton = Baton::start_again(directory).await;
    let page = eventually("the start is recorded", async || {
        Some(audit(&baton, "").await).filter(|page| actions(page).len() == 6)
    })
    .await;
    let expected = [
        "process.start",
        "operator-state",
        "config.reload",
        "POST /api/v1/upstreams/bots/masters/a/operator-state",
        "operator-state",
        "process.start",
    ];
    assert_eq!(actions(&page), expected);
    let drained = &page["items"][4];
    assert_eq!(
        (&drained["who"], &drained["role"], &drained["from"]),
        (&"ann".into(), &"operator".into(), &"127.0.0.1".into())
    );
    assert_eq!(
        (&drained["before"], &drained["after"], &drained["reason"]),
        (&"ready".into(), &"drain".into(), &"a new disk".into())
    );
    assert_eq!((&page["items"][3]["outcome"], &page["items"][3]["who"]), (&"refused".into(), &"ann".into()));
    assert!(page["items"][2]["after"]["changes"].to_string().contains("drain_timeout"), "{page}");

    // Searched, in pages.
    assert_eq!(actions(&audit(&baton, "?who=ann&outcome=done").await), ["operator-state"; 2]);
    assert_eq!(actions(&audit(&baton, "?target=masters/b").await).len(), 1);
    let first = audit(&baton, "?limit=2&action=process.start").await;
    assert_eq!((actions(&first).len(), &first["next"]), (2, &Value::Null));
    let first = audit(&baton, "?limit=4").await;
    let rest = audit(&baton, &format!("?limit=4&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!([actions(&first), actions(&rest)].concat(), expected);
    let since = drained["at"].as_u64().unwrap();
    assert_eq!(actions(&audit(&baton, &format!("?until={since}")).await), ["process.start"]);
    for wrong in ["?outcome=maybe", "?limit=0", "?since=yesterday", "?whom=ann"] {
        assert_eq!(client::get(baton.admin, &format!("/api/v1/audit{wrong}")).await.unwrap().0, 400, "{wrong}");
    }

    // As people see it, and whole for other programs.
    let (code, table) = ctl(&baton, &viewer, &["audit", "--who", "ann", "--limit", "1"]);
    assert!(code == 0 && table.contains("operator-state") && table.contains("--cursor"), "{table}");
    let (code, verified) = ctl(&baton, &viewer, &["audit", "--verify"]);
    assert!(code == 0 && verified.contains("6 records"), "{verified}");
    let (_, lines) = ctl(&baton, &viewer, &["audit", "--export"]);
    let seqs: Vec<u64> = lines.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    assert!(!lines.contains(operator.rsplit('.').next().unwrap()), "a token is in the trail");
}

#[tokio::test]
async fn a_record_that_a_crash_cut_short_is_cut_off_and_one_that_somebody_changed_is_named() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let operator = token(&baton.config_path(), "operator");
    for command in ["drain", "maintenance", "ready"] {
        assert_eq!(ctl(&baton, &operator, &[command, "a"]).0, 0);
    }
    let directory = baton.kill().await;
    let file = trail(directory.path()).pop().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() - 30]).unwrap();
    let baton = Baton::start_again(directory).await;
    eventually("the start is recorded", async || {
        (actions(&audit(&baton, "").await)[..2] == ["process.start", "audit.recovered"]).then_some(())
    })
    .await;
    assert_eq!(baton.status().await["audit"]["damage"], Value::Null);

    let directory = baton.kill().await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"drain\"", "\"ready\"", 1)).unwrap();
    let (code, said) = offline(&directory, &[]);
    assert!(code == 1 && said.contains("line 2: the record was changed"), "{said}");
    let baton = Baton::start_again(directory).await;
    eventually("the damage is known", async || baton.status().await["audit"]["damage"].as_str().map(drop)).await;
    assert_eq!(baton.metric("baton_audit_damaged", &[]).await, 1.0);
    assert!(baton.process.said(Stream::Err).contains("is not what was written"));
    let viewer = token(&baton.config_path(), "viewer");
    let (code, said) = ctl(&baton, &viewer, &["audit", "--verify"]);
    assert!(code == 1 && said.contains("line 2"), "{said}");
    let changed = audit(&baton, "?action=operator-state&limit=1000").await;
    let intact: Vec<bool> =
        changed["items"].as_array().unwrap().iter().map(|record| record["intact"].as_bool().unwrap()).collect();
    assert_eq!(intact, [true, false]);
    // New records follow all the same.
    assert_eq!(ctl(&baton, &token(&baton.config_path(), "operator"), &["drain", "a"]).0, 0);
    assert_eq!(actions(&audit(&baton, "?limit=1").await), ["operator-state"]);
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_stops_no_change_and_is_told() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let directory = baton.kill().await;
    let audit = directory.path().join("data/audit");
    std::fs::remove_dir_all(&audit).unwrap();
    std::fs::write(&audit, "in the way").unwrap();
    let baton = Baton::start_again(directory).await;
    let operator = token(&baton.config_path(), "operator");
    assert_eq!(ctl(&baton, &operator, &["drain", "a"]).0, 0);
    assert_eq!(baton.master("a").await["operator_state"], "drain");
    let status = baton.status().await["audit"].clone();
    assert!(status["error"].is_string() && status["lost"].as_u64() >= Some(1), "{status}");
    assert_eq!(baton.metric("baton_audit_failed", &[]).await, 1.0);
    assert_eq!(baton.metric("baton_events_total", &[("kind", "audit-failed")]).await, 1.0);
    assert!(baton.process.said(Stream::Err).contains("\"action\":\"operator-state\""));
}
