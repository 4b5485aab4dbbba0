//! Three masters as processes, a Baton before them, and one file in which the masters write down what they read.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use baton::sample::client;
use baton::sample::gateway::{Gateway, Plan};
use baton::sample::log::Line;
use baton::sample::tally::{Exchange, Report};
use serde_json::Value;

use super::judge::{self, Read};
use crate::kit::relay::Relay;
use crate::kit::{Baton, Config, Directory, Master, SOON, meta, within};

/// Webhooks a second.
const RATE: NonZeroU32 = NonZeroU32::new(100).unwrap();
const CONVERSATIONS: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// On a machine that is busy with other tests a failover may wait for its processes.
const PATIENCE: Duration = Duration::from_secs(30);
/// So often Baton is started until the master serves that the configuration prefers.
const STARTS: usize = 5;
/// What would come again comes within this time.
const AFTERMATH: Duration = Duration::from_millis(300);

const HOOK_SECRET: &str = "what masters and Baton share";

/// What a scene is made of.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What fails.
    pub name: String,
    pub delivery: &'static str,
    /// Between two probes.
    pub interval: &'static str,
    /// Whether a stretch of network that can be broken lies before the first master.
    pub network: bool,
    /// Masters have hooks, and this long for each.
    pub hooks: Option<&'static str>,
}

pub struct Scene {
    pub setting: Setting,
    pub masters: [Master; 3],
    pub network: Option<Relay>,
    pub baton: Baton,
    pub config: Config,
    pub log: Directory,
}

async fn masters(log: &Directory, setting: &Setting) -> [Master; 3] {
    let file = log.path().join("read");
    let mut arguments = vec!["--log", file.to_str().expect("a path in UTF-8"), "--app-secret", meta::SECRET];
    if setting.hooks.is_some() {
        arguments.extend(["--hook-secret", HOOK_SECRET]);
    }
    [
        Master::start_apart("a", &arguments).await,
        Master::start_apart("b", &arguments).await,
        Master::start_apart("c", &arguments).await,
    ]
}

fn config(masters: &[Master; 3], network: Option<&Relay>, setting: &Setting) -> Config {
    let Setting { delivery, interval, hooks, .. } = *setting;
    let mut config = Config::empty();
    for (priority, master) in masters.iter().enumerate() {
        let address = network.filter(|_| priority == 0).map_or(master.address, |relay| relay.address);
        config = config.master(&master.name, address, &format!("priority: {priority}"));
    }
    let mut failover = "failover:\n  stable_after: 500ms\n  recovery: { timeout: 30s, max_attempts: 0 }\n".to_owned();
    if let Some(timeout) = hooks {
        failover += &format!(
            "  hooks:
    export: /state
    import: /state
    activate: /activate
    deactivate: /deactivate
    interval: 200ms
    timeout: {timeout}
    secret: {HOOK_SECRET}"
        );
    }
    if delivery == "inline-then-spool" {
        config = config.route("spool_after: 1s");
    }
    config
        // Gateways that go on while Baton is down must not find anybody else there.
        .address("127.0.0.3:0".parse().expect("an address"))
        .route(&format!("delivery: {delivery}"))
        .route(&format!("whatsapp: {{ provider: cloud-api, app_secret: {} }}", meta::SECRET))
        .upstream("affinity: { key: conversation }")
        .upstream(&format!(
            "health_check: {{ interval: {interval}, timeout: 500ms, unhealthy_threshold: 2, http: {{ path: /health }} }}"
        ))
        .upstream("outlier_detection: { consecutive_failures: 5, base_ejection: 1s, max_ejection: 1s }")
        .upstream("retry: { per_try_timeout: 500ms }")
        // Nothing becomes a dead letter by what is done to its masters.
        .upstream("redelivery: { attempts: 1000, masters: 100, backoff: 50ms, max_backoff: 200ms }")
        .upstream(&failover)
}

impl Scene {
    pub async fn start(setting: Setting) -> Self {
        let log = Directory::new();
        let masters = masters(&log, &setting).await;
        let network = if setting.network { Some(Relay::start(masters[0].address).await) } else { None };
        let config = config(&masters, network.as_ref(), &setting);
        let mut baton = Baton::start(&config).await;
        for _ in 0..STARTS {
            if baton.status().await["upstreams"][0]["active"] == "a" {
                break;
            }
            // A first probe that was late has made another one serve.
            baton = Baton::start(&config).await;
        }
        let scene = Self { setting, masters, network, baton, config, log };
        if scene.setting.hooks.is_some() {
            scene.until("a was told that it serves", async || scene.masters[0].own().await["active"] == true).await;
        }
        scene
    }

    /// For messages of tests that fail.
    pub fn name(&self) -> String {
        format!("{}, {}", self.setting.name, self.setting.delivery)
    }

    /// Load that goes on until it is stopped.
    pub fn load(&self) -> Gateway {
        Gateway::start(Plan {
            app_secret: Some(meta::SECRET.to_owned()),
            rate: RATE,
            conversations: CONVERSATIONS,
            connections: CONVERSATIONS,
            keep_exchanges: 100_000,
            ..Plan::new(self.baton.address(), "/webhook")
        })
    }

    /// Waits for a condition, for longer than it may take.
    pub async fn until(&self, expected: &str, condition: impl AsyncFn() -> bool) {
        let expected = format!("{expected} ({})", self.name());
        within(PATIENCE, &expected, async || condition().await.then_some(())).await;
    }

    pub async fn upstream(&self) -> Value {
        self.baton.status().await["upstreams"][0].take()
    }

    /// Waits until one of these serves, and nobody else has anything under way.
    pub async fn until_served_by(&self, names: &[&str]) {
        self.until(&format!("one of {names:?} serves"), async || {
            let upstream = self.upstream().await;
            let group = &upstream["failover"]["groups"][0];
            group["state"] == "steady" && group["active"].as_str().is_some_and(|active| names.contains(&active))
        })
        .await;
    }

    /// Waits until a master has come back, in whatever role.
    pub async fn until_back(&self, name: &str) {
        self.until(&format!("{name} is back"), async || {
            let master = self.baton.master(name).await;
            master["health"] == "healthy" && master["role"] != "fenced"
        })
        .await;
    }

    /// What masters have read, in the order in which they did.
    pub fn reads(&self) -> Vec<Read> {
        let text = std::fs::read_to_string(self.log.path().join("read")).unwrap_or_default();
        // The last line may be in the middle of its way into the file.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Read::of(serde_json::from_str::<Line>(line).expect("a line of a master"))).collect()
    }

    /// Waits until everything acknowledged has been read, and for what may follow.
    pub async fn settled(&self, acknowledged: &BTreeSet<(u32, u64)>) -> Vec<Read> {
        self.until("nothing is pending", async || self.baton.metric("baton_spool_pending", &[]).await == 0.0).await;
        // What is lost stays lost: the laws say so better than a wait that ends.
        let _ = tokio::time::timeout(SOON, async {
            while !judge::missing(&self.reads(), acknowledged).is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        tokio::time::sleep(AFTERMATH).await;
        self.reads()
    }

    /// Every answer has to be 2xx; gives what was acknowledged.
    pub fn acknowledged(&self, report: &Report) -> BTreeSet<(u32, u64)> {
        let failures: Vec<&Exchange> = report.exchanges.iter().filter(|e| !e.succeeded()).take(5).collect();
        assert!(report.failed == 0, "{}: {report}\nthe first failures: {failures:#?}", self.name());
        report.exchanges.iter().map(|exchange| (exchange.conversation, exchange.sequence)).collect()
    }

    /// Failovers so far, the newest first. No epoch may have two owners.
    pub async fn failovers(&self) -> Vec<Value> {
        let (status, body) = client::get(self.baton.admin, "/api/v1/failovers").await.expect("failovers can be read");
        assert_eq!(status, 200);
        let list = serde_json::from_slice::<Value>(&body).expect("JSON")["items"].take();
        let list = list.as_array().expect("a list").clone();
        let mut epochs = BTreeSet::new();
        for it in list.iter().filter(|it| it["state"] == "completed") {
            assert!(epochs.insert(it["epoch"].as_u64()), "{}: an epoch with two owners: {list:#?}", self.name());
        }
        list
    }

    /// The laws that hold whatever has failed.
    pub async fn judge(&self, reads: &[Read], acknowledged: &BTreeSet<(u32, u64)>) {
        let wrongs = judge::wrongs(reads, acknowledged);
        let (name, count) = (self.name(), wrongs.len());
        let first: Vec<_> = wrongs.iter().take(10).collect();
        assert!(wrongs.is_empty(), "{name}: {count} wrongs of {} acknowledged: {first:#?}", acknowledged.len());
        assert_eq!(self.baton.metric("baton_dead_letters", &[]).await, 0.0, "{name}");
        self.failovers().await;
    }
}
