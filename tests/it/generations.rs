//! Every configuration that was in use can be looked at, compared and brought back.

use std::os::unix::fs::PermissionsExt;

use baton::sample::client;
use serde_json::Value;

use super::admin::token;
use super::audit::ctl;
use super::kit::{Baton, Config, among_others, eventually, masters};

fn config(timeout: &str) -> Config {
    Config::empty().master("a", "127.0.0.1:1".parse().unwrap(), "").route(&format!(
        "timeout: {timeout}\nwhatsapp: {{ provider: cloud-api, app_secret: \"do not show\", verify_token: v3rify }}"
    ))
}

async fn get(baton: &Baton, path: &str) -> Value {
    let (status, body) = client::get(baton.admin, path).await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// Writes a configuration, and waits until it is in use.
async fn changed(baton: &Baton, timeout: &str, generation: u64) {
    baton.write(&config(timeout));
    baton.hang_up();
    eventually("it is in use", async || (baton.generation().await == generation).then_some(())).await;
}

#[tokio::test]
async fn a_generation_is_brought_back_in_one_call_and_outlives_a_restart_until_the_file_changes() {
    let _machine = among_others().await;
    let baton = Baton::start_unprobed(&config("10s")).await;
    let operator = token(&baton.config_path(), "operator");
    changed(&baton, "20s", 2).await;
    changed(&baton, "30s", 3).await;

    let (code, text) = ctl(&baton, &operator, &["generations"]);
    assert!(code == 0 && text.contains("timeout 20s -> 30s"), "{text}");
    let (code, text) = ctl(&baton, &operator, &["generations", "1", "--diff"]);
    assert!(code == 0 && text.contains("timeout 30s -> 10s"), "{text}");
    let (code, text) = ctl(&baton, &operator, &["generations", "3", "--diff", "--from", "2"]);
    assert!(code == 0 && text.contains("from generation 2 to 3") && text.contains("timeout 20s -> 30s"), "{text}");

    let (code, text) = ctl(&baton, &operator, &["rollback", "1", "--dry-run"]);
    assert!(code == 0 && text.contains("it would change") && text.contains("timeout 30s -> 10s"), "{text}");
    assert_eq!(baton.generation().await, 3);
    let (code, text) = ctl(&baton, &operator, &["rollback", "1", "--reason", "answers are slow"]);
    assert!(code == 0 && text.contains("generation 4 is in use"), "{text}");
    let newest = &get(&baton, "/api/v1/generations?limit=1").await["items"][0];
    assert_eq!((&newest["number"], &newest["back_to"], &newest["in_use"]), (&4.into(), &1.into(), &true.into()));
    assert_eq!((&newest["reason"], &newest["who"]), (&"answers are slow".into(), &"ann".into()), "{newest}");
    assert_eq!(baton.status().await["rolled_back_to"], 1);
    let audited = get(&baton, "/api/v1/audit?action=config.reload&limit=1").await;
    assert_eq!(audited["items"][0]["reason"], "answers are slow", "{audited}");

    // A signal does not go forward again, and neither does a restart: the file is what it was.
    baton.hang_up();
    let unchanged = [("outcome", "unchanged")];
    eventually("the signal", async || {
        (baton.metric("baton_config_reloads_total", &unchanged).await == 1.0).then_some(())
    })
    .await;
    assert_eq!(baton.generation().await, 4);
    let baton = Baton::start_again(baton.kill().await).await;
    assert_eq!((baton.generation().await, &baton.status().await["rolled_back_to"]), (4, &1.into()));
    let (_, text) = ctl(&baton, &operator, &["config", "show"]);
    assert!(text.contains("timeout: 10s") && text.contains("brought back from generation 1"), "{text}");

    changed(&baton, "40s", 5).await;
    eventually("nothing is held", async || baton.status().await["rolled_back_to"].is_null().then_some(())).await;
    let baton = Baton::start_again(baton.kill().await).await;
    assert_eq!(baton.generation().await, 5);
}

#[tokio::test]
async fn what_is_set_at_run_time_is_a_generation_and_outlives_a_restart_until_the_file_changes_or_is_gone_by_again() {
    let _machine = among_others().await;
    let baton = Baton::start_unprobed(&config("10s")).await;
    let operator = token(&baton.config_path(), "operator");
    let strategy = async |baton: &Baton| baton.status().await["upstreams"][0]["strategy"].as_str().unwrap().to_owned();
    let upstream = baton.status().await["upstreams"][0]["name"].as_str().unwrap().to_owned();
    let file = std::fs::read_to_string(baton.config_path()).unwrap();

    let (code, text) = ctl(&baton, &operator, &["strategy", &upstream, "least-loaded", "--dry-run"]);
    assert!(code == 0 && text.contains("it would change") && text.contains("least-loaded"), "{text}");
    assert_eq!((strategy(&baton).await, baton.generation().await), ("round-robin".to_owned(), 1));
    let (code, text) =
        ctl(&baton, &operator, &["strategy", &upstream, "weighted-round-robin", "--reason", "a is small"]);
    assert!(code == 0 && text.contains("generation 2 is in use"), "{text}");
    assert_eq!(strategy(&baton).await, "weighted-round-robin");
    let (code, text) = ctl(&baton, &operator, &["weight", "a", "7"]);
    assert!(code == 0 && text.contains("weight 1 -> 7"), "{text}");
    let (code, text) = ctl(&baton, &operator, &["weight", "a", "7"]);
    assert!(code == 0 && text.contains("nothing has changed"), "{text}");
    let (_, text) = ctl(&baton, &operator, &["config", "show"]);
    assert!(text.contains("weight: 7") && text.contains("with what was set at run time"), "{text}");
    assert_eq!(baton.status().await["set_at_run_time"], true);
    let audited = get(&baton, "/api/v1/audit?action=strategy&limit=1").await;
    let record = &audited["items"][0];
    assert_eq!((&record["reason"], &record["target"]), (&"a is small".into(), &format!("upstreams/{upstream}").into()));

    // The file was not touched, and a signal and a restart leave things as they were set.
    assert_eq!(std::fs::read_to_string(baton.config_path()).unwrap(), file);
    baton.hang_up();
    let baton = Baton::start_again(baton.kill().await).await;
    assert_eq!((baton.generation().await, &*strategy(&baton).await), (3, "weighted-round-robin"));

    let (code, text) = ctl(&baton, &operator, &["config", "reload", "--discard"]);
    assert!(code == 0 && text.contains("weight 7 -> 1"), "{text}");
    assert_eq!(
        (strategy(&baton).await, &baton.status().await["set_at_run_time"]),
        ("round-robin".to_owned(), &false.into())
    );
    let (code, text) = ctl(&baton, &operator, &["rollback", "3"]);
    assert!(code == 0 && text.contains("weight 1 -> 7"), "{text}");
    changed(&baton, "40s", 6).await;
    assert_eq!(strategy(&baton).await, "round-robin");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_refused_with_the_reason_and_changes_nothing() {
    let _machine = among_others().await;
    let baton = Baton::start_unprobed(&config("10s")).await;
    let operator = token(&baton.config_path(), "operator");
    let upstream = baton.status().await["upstreams"][0]["name"].as_str().unwrap().to_owned();
    for (words, said) in [
        (&["strategy", &upstream, "leest-loaded"][..], "there are round-robin, weighted-round-robin"),
        (&["strategy", "nobody", "random"], "there is no upstream nobody"),
        (&["weight", "a", "0"], "weight"),
        (&["weight", "b", "3"], "there is no master b"),
        (&["priority", "a", "1001"], "priority"),
    ] {
        let (code, text) = ctl(&baton, &operator, words);
        assert!(code == 1 && text.contains(said), "{words:?}: {text}");
    }
    assert_eq!((baton.generation().await, &baton.status().await["set_at_run_time"]), (1, &false.into()));
    let viewer = token(&baton.config_path(), "viewer");
    let (code, text) = ctl(&baton, &viewer, &["weight", "a", "3"]);
    assert!(code == 1 && text.contains("does not allow"), "{text}");
}

#[tokio::test]
async fn no_secret_is_shown_and_nobody_else_reads_what_is_kept() {
    let _machine = among_others().await;
    let baton = Baton::start_unprobed(&config("10s")).await;
    let operator = token(&baton.config_path(), "operator");
    eventually("it is kept", async || {
        let kept = get(&baton, "/api/v1/generations").await;
        (kept["items"].as_array()?.len() == 1).then_some(())
    })
    .await;
    for words in [&["config", "show"][..], &["generations", "1"], &["config", "show", "--json"]] {
        let (code, text) = ctl(&baton, &operator, words);
        assert!(code == 0 && text.contains("app_secret: ***") && !text.contains("do not show"), "{text}");
        assert!(!text.contains("v3rify"), "{text}");
    }
    let kept = baton.directory().join("data/generations/1.json");
    assert!(std::fs::read_to_string(&kept).unwrap().contains("do not show"));
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    let viewer = token(&baton.config_path(), "viewer");
    for words in [&["config", "show"][..], &["generations", "1"], &["rollback", "1"], &["config", "reload"]] {
        let (code, text) = ctl(&baton, &viewer, words);
        assert!(code == 1 && text.contains("does not allow"), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_told_with_its_places_and_changes_nothing() {
    let _machine = among_others().await;
    let masters = masters(["a"]).await;
    let baton = Baton::start(&Config::of(&masters)).await;
    let operator = token(&baton.config_path(), "operator");
    let file = baton.directory().join("other.yaml");
    let validate = |text: &str| {
        std::fs::write(&file, text).unwrap();
        ctl(&baton, &operator, &["config", "validate", file.to_str().unwrap()])
    };
    let text = std::fs::read_to_string(baton.config_path()).unwrap();
    let (code, said) = validate(&text);
    assert!(code == 0 && said.contains("it would change nothing"), "{said}");
    let (code, said) = validate(&format!("{text}\ndrain_timeout: 7s\n"));
    assert!(code == 0 && said.contains("drain_timeout"), "{said}");
    let (code, said) = validate(&format!("{text}\nupstreems: []\n"));
    assert!(code == 1 && said.contains("upstreems") && said.contains("help: did you mean"), "{said}");
    assert!(said.contains(&format!("in line {}", text.lines().count() + 2)), "{said}");
    assert_eq!(baton.status().await["config_error"], Value::Null);

    baton.write_text("nonsense: true\n");
    let (code, said) = ctl(&baton, &operator, &["config", "reload"]);
    assert!(code == 1 && said.contains("the one in use stays") && said.contains("nonsense"), "{said}");
    assert!(baton.status().await["config_error"].as_str().unwrap().contains("nonsense"));
    let (code, said) = ctl(&baton, &operator, &["rollback", "77"]);
    assert!(code == 1 && said.contains("generation 77 is not kept"), "{said}");
    assert_eq!(baton.generation().await, 1);
}
