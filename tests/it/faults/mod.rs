//! Whatever happens to the master that serves, under load: every webhook is answered 2xx, and what was sent, acknowledged and read is
//! the same, in the same order. Times are measured in [`crate::failover`]; here nothing depends on them.

mod judge;
mod kills;
mod scene;

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::LocalSet;

use crate::kit::among_others;
use crate::kit::load::until;
use crate::kit::relay::Network;
use scene::{Scene, Setting};

/// Where an answer is given for a master that cannot give it.
const DELIVERIES: [&str; 2] = ["inline-then-spool", "spool"];

/// Load before the fault, and after another master has taken over.
const CALM: Duration = Duration::from_millis(600);

/// Comes and goes, of a master that flaps.
const FLAPS: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Crash,
    Hang,
    /// The network between Baton and the master.
    Broken(Network),
    /// Every message is answered 503.
    Errors,
    /// Every message is answered after three seconds, six times what it may take.
    Slow,
    /// Whoever serves dies and comes back, again and again.
    Flaps,
    /// The one that serves and the next one die at the same moment.
    TwoAtOnce,
    /// The next one is dead before it is needed, and nobody has noticed.
    DeadOnArrival,
    /// The next one dies when it has just taken over.
    DiesWhenChosen,
    /// The next one does not take the state, or says that it holds another one.
    Hook(&'static str),
}

impl Fault {
    fn setting(self, delivery: &'static str) -> Setting {
        let interval = if self == Self::DeadOnArrival { "5s" } else { "500ms" };
        let network = matches!(self, Self::Broken(_));
        let hooks = matches!(self, Self::Hook(_)).then_some("500ms");
        Setting { name: format!("{self:?}"), delivery, interval, network, hooks }
    }

    async fn cause(self, scene: &mut Scene) {
        let [a, b, _] = &mut scene.masters;
        match self {
            Self::Crash => a.kill().await,
            Self::Hang => a.signal(Signal::STOP),
            Self::Broken(network) => scene.network.as_ref().unwrap().set(network),
            Self::Errors => a.fault(r#"{"status":503}"#).await,
            Self::Slow => a.fault(r#"{"delay_ms":3000}"#).await,
            Self::TwoAtOnce => {
                a.signal(Signal::KILL);
                b.signal(Signal::KILL);
            }
            Self::DeadOnArrival => {
                b.kill().await;
                a.kill().await;
            }
            Self::DiesWhenChosen => {
                a.kill().await;
                scene.until("b was chosen", async || scene.upstream().await["active"] == "b").await;
                scene.masters[1].kill().await;
            }
            Self::Hook(fault) => {
                scene
                    .until("a state is kept", async || {
                        scene.upstream().await["failover"]["groups"][0]["kept"]["state"]["from"] == "a"
                    })
                    .await;
                scene.masters[1].fault(&format!(r#"{{"hook":"{fault}"}}"#)).await;
                scene.masters[0].kill().await;
            }
            Self::Flaps => {
                for round in 0..FLAPS {
                    let active = scene.upstream().await["active"].clone();
                    let Some(master) = scene.masters.iter_mut().find(|master| active == master.name) else { continue };
                    master.kill().await;
                    // Back before anybody has asked whether it is dead, or long after.
                    tokio::time::sleep(Duration::from_millis(round * 40)).await;
                    master.restart_dead().await;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Who serves then.
    fn successors(self) -> &'static [&'static str] {
        match self {
            Self::Flaps => &["a", "b", "c"],
            Self::TwoAtOnce | Self::DeadOnArrival | Self::DiesWhenChosen | Self::Hook(_) => &["c"],
            _ => &["b", "c"],
        }
    }

    async fn end(self, scene: &mut Scene) {
        match self {
            Self::Hang => scene.masters[0].signal(Signal::CONT),
            Self::Broken(_) => scene.network.as_ref().unwrap().set(Network::Works),
            Self::Errors | Self::Slow => scene.masters[0].fault("{}").await,
            Self::Hook(_) => scene.masters[1].fault("{}").await,
            _ => {}
        }
        for master in &mut scene.masters {
            if !master.running() {
                master.restart_dead().await;
            }
        }
    }
}

async fn one(fault: Fault, delivery: &'static str) {
    let mut scene = Scene::start(fault.setting(delivery)).await;
    let gateway = scene.load();
    until(&gateway, CALM).await;
    fault.cause(&mut scene).await;
    scene.until_served_by(fault.successors()).await;
    let switched = scene.reads().len();
    until(&gateway, gateway.elapsed() + CALM).await;
    fault.end(&mut scene).await;
    for name in ["a", "b", "c"] {
        scene.until_back(name).await;
    }
    let report = gateway.stop().await;
    let acknowledged = scene.acknowledged(&report);
    let reads = scene.settled(&acknowledged).await;
    scene.judge(&reads, &acknowledged).await;
    let failovers = scene.failovers().await;
    let name = scene.name();
    assert!(!failovers.is_empty() || fault == Fault::Flaps, "{name}: nobody took over");
    // On a busy machine a probe may be late, and a master serve again that has come back.
    if fault != Fault::Flaps && failovers.iter().all(|it| it["to"] != "a") {
        let news = judge::news(&reads, "a", switched);
        assert!(news.is_empty(), "{name}: a does not serve and got {news:#?}");
    }
    if let Fault::Hook(_) = fault {
        assert!(failovers.iter().any(|it| it["passed"][0]["master"] == "b"), "{name}: {failovers:#?}");
        let early = reads.iter().find(|read| read.master == "b");
        assert!(
            early.is_none() || failovers.iter().any(|it| it["to"] == "b"),
            "{name}: b was passed over and got {early:?}"
        );
    }
}

/// Side by side, so that their waits are one.
async fn survives(faults: &'static [Fault]) {
    let _machine = among_others().await;
    side_by_side(faults.iter().flat_map(|fault| DELIVERIES.map(|delivery| Box::pin(one(*fault, delivery))))).await;
}

/// Runs scenes to their ends.
async fn side_by_side(scenes: impl Iterator<Item = impl Future<Output = ()> + 'static>) {
    let here = LocalSet::new();
    let scenes: Vec<_> = scenes.map(|scene| here.spawn_local(scene)).collect();
    here.run_until(async {
        for scene in scenes {
            scene.await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn a_crash_and_a_hang_lose_double_and_reorder_nothing() {
    survives(&[Fault::Crash, Fault::Hang]).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn a_network_that_refuses_resets_or_swallows_loses_doubles_and_reorders_nothing() {
    survives(&[Fault::Broken(Network::Refuses), Fault::Broken(Network::Resets), Fault::Broken(Network::Vanishes)])
        .await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn answers_of_503_and_slow_ones_lose_double_and_reorder_nothing() {
    survives(&[Fault::Errors, Fault::Slow]).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn masters_that_come_and_go_lose_double_and_reorder_nothing() {
    survives(&[Fault::Flaps]).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn a_standby_that_dies_as_well_loses_doubles_and_reorders_nothing() {
    survives(&[Fault::TwoAtOnce, Fault::DeadOnArrival, Fault::DiesWhenChosen]).await;
}

#[tokio::test]
#[ignore = "the step `durability` runs it alone"]
async fn hooks_that_fail_lie_or_hang_under_load_lose_double_and_reorder_nothing() {
    survives(&[Fault::Hook("import-500"), Fault::Hook("import-lies"), Fault::Hook("activate-hangs")]).await;
}
