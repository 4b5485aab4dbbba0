//! Baton itself is killed while it hands over: at every step that lasts because a hook hangs, and at random moments for those that take
//! microseconds. Gateways go on meanwhile. What was acknowledged is not lost, and in the end one master serves, which knows it.

#![expect(clippy::print_stderr, reason = "the sums of a run belong to its test")]

use std::collections::BTreeSet;
use std::time::Duration;

use baton::sample::mark::Mark;
use serde_json::{Value, json};

use super::scene::{Scene, Setting};
use super::{CALM, DELIVERIES, side_by_side};
use crate::kit::http::Client;
use crate::kit::sender::{Persistence, Random, Senders};
use crate::kit::{Baton, Master, alone, among_others};

const CONVERSATIONS: u32 = 20;

/// Kills of a run among the other tests, and of one that has the machine alone.
const KILLS: u32 = 6;
const MANY_KILLS: u32 = 50;

/// A failover that nothing holds up has long ended by then.
const FAILOVER_MICROS: u64 = 12_000;

/// A step that a hook holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A planned failover, before anything of it is told to a master.
    Export,
    /// A planned failover, when nobody serves any more.
    Deactivate,
    /// After a crash, before anybody serves.
    Import,
    /// After a crash, when the next one has heard that it serves and Baton has not heard that.
    Activate,
}

impl Step {
    /// Which master hangs in which hook.
    fn fault(self) -> (usize, &'static str) {
        match self {
            Self::Export => (0, "export-hangs"),
            Self::Deactivate => (0, "deactivate-hangs"),
            Self::Import => (1, "import-hangs"),
            Self::Activate => (1, "activate-hangs"),
        }
    }

    async fn reached(self, scene: &Scene) {
        let [a, b, _] = &scene.masters;
        scene
            .until(&format!("{self:?} is under way"), async || match self {
                Self::Export => scene.upstream().await["failover"]["groups"][0]["state"] == "handing-over",
                Self::Deactivate => a.own().await["active"] == false,
                Self::Import => b.own().await["handled"].as_u64().is_some_and(|handled| handled > 0),
                Self::Activate => b.own().await["active"] == true,
            })
            .await;
    }
}

fn setting(name: &str, delivery: &'static str, hooks: Option<&'static str>) -> Setting {
    Setting { name: name.to_owned(), delivery, interval: "500ms", network: false, hooks }
}

/// Where a message is forwarded first, Baton may be killed before it knows that it was taken, and a gateway that sends it again makes
/// two of it.
fn persistence(delivery: &str) -> Persistence {
    if delivery == "spool" { Persistence::Again } else { Persistence::Once }
}

impl Scene {
    /// With gateways that go on while Baton is down.
    async fn start_with_senders(setting: Setting) -> (Self, Senders) {
        let persistence = persistence(setting.delivery);
        let scene = Self::start(setting).await;
        // They know one address.
        scene.baton.write(&scene.config.clone().address(scene.baton.address()));
        let senders = Senders::start(scene.baton.address(), CONVERSATIONS, persistence);
        (scene, senders)
    }

    /// Kills Baton, and starts it again with what is on disk after something else has happened.
    async fn kill_baton(self, meanwhile: impl AsyncFnOnce(&mut [Master; 3])) -> Self {
        let Self { setting, mut masters, network, baton, config, log } = self;
        let directory = baton.kill().await;
        meanwhile(&mut masters).await;
        let baton = Baton::start_again(directory).await;
        Self { setting, masters, network, baton, config, log }
    }

    /// Waits until one master serves and has the role for it, and no other one.
    async fn one_owner(&self) {
        self.until("one master serves", async || {
            let upstream = self.upstream().await;
            let masters = upstream["masters"].as_array().expect("a list of masters");
            let active: Vec<&Value> =
                masters.iter().filter(|it| it["role"] == "active").map(|it| &it["name"]).collect();
            let is_steady = upstream["failover"]["groups"][0]["state"] == "steady";
            is_steady && upstream["active"].is_string() && active == [&upstream["active"]]
        })
        .await;
    }

    /// Waits until the owner and nobody else has heard that it serves.
    async fn agreed(&self) {
        self.until("all masters agree on who serves", async || {
            let owner = self.upstream().await["active"].clone();
            for master in &self.masters {
                if (master.own().await["active"] == true) != (owner == master.name) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    async fn restart_dead(&mut self) {
        for master in &mut self.masters {
            if !master.running() {
                master.restart_dead().await;
            }
        }
    }

    async fn judge_senders(&self, senders: Senders, least: usize) {
        let acknowledged: BTreeSet<Mark> = senders.stop().await;
        let acknowledged = acknowledged.iter().map(|mark| (mark.conversation, mark.sequence)).collect();
        let reads = self.settled(&acknowledged).await;
        self.judge(&reads, &acknowledged).await;
        assert!(acknowledged.len() > least, "{}: {} acknowledged, that is no load", self.name(), acknowledged.len());
    }
}

/// Asks for a failover, and does not wait for it.
fn plan_failover(scene: &Scene) {
    let (admin, token) = (scene.baton.admin, crate::admin::token(&scene.baton.config_path(), "operator"));
    tokio::spawn(async move {
        let mut client = Client::connect(admin).await;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json"), ("host", "127.0.0.1")];
        // Baton is killed before it answers.
        let _ = client.send(hyper::Method::POST, "/api/v1/upstreams/bots/failover", &headers, "{}").await;
    });
}

async fn killed_at(step: Step, delivery: &'static str) {
    let (mut scene, senders) =
        Scene::start_with_senders(setting(&format!("Baton killed in {step:?}"), delivery, Some("9s"))).await;
    scene.until("a has handled something", async || scene.masters[0].own().await["handled"] != 0).await;
    scene
        .until("a state of that is kept", async || {
            let kept = &scene.upstream().await["failover"]["groups"][0]["kept"]["state"];
            kept["bytes"].as_u64().is_some_and(|bytes| bytes > json!({ "handled": 0 }).to_string().len() as u64)
        })
        .await;
    let (hangs, hook) = step.fault();
    scene.masters[hangs].fault(&json!({ "hook": hook }).to_string()).await;
    match step {
        Step::Export | Step::Deactivate => plan_failover(&scene),
        Step::Import | Step::Activate => scene.masters[0].kill().await,
    }
    step.reached(&scene).await;
    // Whether who served before is back when Baton is makes another failover of it.
    let back_first = delivery == "spool";
    let mut scene = scene
        .kill_baton(async |masters| {
            masters[hangs].fault("{}").await;
            if back_first && !masters[0].running() {
                masters[0].restart_dead().await;
            }
        })
        .await;
    scene.one_owner().await;
    scene.restart_dead().await;
    for name in ["a", "b", "c"] {
        scene.until_back(name).await;
    }
    scene.one_owner().await;
    scene.agreed().await;
    tokio::time::sleep(CALM).await;
    scene.judge_senders(senders, CONVERSATIONS as usize).await;
}

/// Kills whoever serves and, within the failover that follows, Baton.
async fn killed_at_random(delivery: &'static str, hooks: Option<&'static str>, kills: u32) {
    let mut random = Random::seeded("BATON_FAULTS_SEED");
    let (mut scene, senders) = Scene::start_with_senders(setting("Baton killed at random", delivery, hooks)).await;
    for _ in 0..kills {
        tokio::time::sleep(random.millis(50, 250)).await;
        let active = scene.upstream().await["active"].clone();
        // Nobody does where the one that was dead before Baton's start has been noticed only now.
        let Some(master) = scene.masters.iter_mut().find(|master| active == master.name) else { continue };
        master.kill().await;
        tokio::time::sleep(random.micros(0, FAILOVER_MICROS)).await;
        let back_first = random.micros(0, 2) == Duration::ZERO;
        scene = scene
            .kill_baton(async |masters| {
                for master in masters {
                    if back_first && !master.running() {
                        master.restart_dead().await;
                    }
                }
            })
            .await;
        scene.one_owner().await;
        scene.restart_dead().await;
    }
    for name in ["a", "b", "c"] {
        scene.until_back(name).await;
    }
    scene.one_owner().await;
    if hooks.is_some() {
        scene.agreed().await;
    }
    let name = scene.name();
    let failovers = scene.failovers().await;
    let in_state = |state: &str| failovers.iter().filter(|it| it["state"] == state).count();
    // That many do not all miss the moments that they are aimed at.
    assert!(kills < MANY_KILLS || in_state("undone") > 0, "{name}: no kill came in the middle of a failover");
    eprintln!("{name}: {kills} kills, {} failovers completed, {} undone", in_state("completed"), in_state("undone"));
    scene.judge_senders(senders, CONVERSATIONS as usize).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn baton_killed_at_a_step_of_a_planned_failover_loses_nothing() {
    let _machine = among_others().await;
    let steps = [Step::Export, Step::Deactivate];
    side_by_side(steps.iter().flat_map(|step| DELIVERIES.map(|delivery| Box::pin(killed_at(*step, delivery))))).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn baton_killed_at_a_step_of_a_failover_after_a_crash_loses_nothing() {
    let _machine = among_others().await;
    let steps = [Step::Import, Step::Activate];
    side_by_side(steps.iter().flat_map(|step| DELIVERIES.map(|delivery| Box::pin(killed_at(*step, delivery))))).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn baton_killed_at_random_moments_of_failovers_loses_nothing() {
    let _machine = among_others().await;
    let [first, second] = DELIVERIES;
    tokio::join!(killed_at_random(first, None, KILLS), killed_at_random(second, Some("2s"), KILLS));
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn fifty_kills_of_baton_in_failovers_lose_nothing() {
    let _machine = alone().await;
    let [first, second] = DELIVERIES;
    tokio::join!(killed_at_random(first, Some("2s"), MANY_KILLS), killed_at_random(second, None, MANY_KILLS));
}
