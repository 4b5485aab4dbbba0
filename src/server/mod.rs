//! The running proxy: everything put together, kept up to date, and taken down in order.
//!
//! ```text
//! start:   load ─▶ bind ─▶ workers ─▶ first probes ─▶ accept ─▶ "ready"
//! upgrade: the same, with sockets of the process before, which leaves when this one is ready
//! reload:  load ─▶ bind what is new ─▶ publish one snapshot ─▶ close what is gone      (any error: nothing changed)
//! stop:    not ready ─▶ close listeners ─▶ workers drain ─▶ deadline
//! ```

mod alerts;
mod expiry;
mod files;
mod kept;
mod monitor;
mod observe;
mod operate;
mod outage;
mod relay;
mod reload;
mod sla;
mod spool;
mod states;
mod status;
mod supervisor;
mod takeover;
mod upgrade;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::acme::manager::Manager;
use crate::admin::token::Keyring;
use crate::admin::{self, AdminState};
use crate::alerts::Alerts;
use crate::audit::{Audit, Author};
use crate::config::{self, Diagnostics, Loaded, model};
use crate::events::{Bus, Event, Kind, Severity};
use crate::failover::orchestrator::Orchestrator;
use crate::generations::Generations;
use crate::health::checker::{Checker, MonitoredMaster};
use crate::listener::accept::Acceptor;
use crate::listener::bind::{Bound, SocketFile, bind};
use crate::listener::handover::Role;
use crate::listener::inherit::Inherited;
use crate::monitor::Monitor;
use crate::notify::receivers::Receivers;
use crate::notify::webhooks::Webhooks;
use crate::proxy::linger::DRAIN_GRACE;
use crate::sla::Sla;
use crate::snapshot::{Snapshot, Upstream};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::logging::{self, LogLevel};
use crate::telemetry::{Telemetry, names};
use crate::tls;
use crate::tls::client::MasterTls;
use crate::tls::server::{Gate, gate};
use crate::upstream::admission::Health;
use crate::upstream::master::Master;
use crate::worker::{self, Phase, Supplies, Worker};
use relay::Relay;
use states::States;
use supervisor::Supervisor;
use takeover::Takeover;
use upgrade::{Successor, Upgrades};

/// How long the start waits for the first verdict about each master. Until then connections wait in the kernel.
const FIRST_VERDICTS: Duration = Duration::from_secs(2);

/// How often pins that have expired are looked for, and the time series kept up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How long an idle connection waits for one more request after another process has taken over, at most: nothing presses, and a
/// client that keeps connections asks again within seconds.
const HAND_OVER_GRACE: Duration = Duration::from_secs(5);

/// What the admin listener may take to finish.
const ADMIN_STOP: Duration = Duration::from_millis(500);

/// What webhooks may take to be told the last events.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the access log may take to write what is queued.
const LOG_CLOSE: Duration = Duration::from_secs(2);

/// Why the proxy did not start, or ended.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(Diagnostics),
    /// A certificate or key that the configuration names cannot be used.
    Certificate(String),
    /// Anything else, as one line.
    Runtime(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => diagnostics.fmt(f),
            Self::Certificate(line) | Self::Runtime(line) => write!(f, "error: {line}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<String> for Failure {
    fn from(line: String) -> Self {
        Self::Runtime(line)
    }
}

/// What the control plane and the admin listener share.
pub(crate) struct Control {
    path: PathBuf,
    published: Arc<ArcSwap<Snapshot>>,
    acceptor: Acceptor,
    checker: Checker,
    telemetry: Arc<Telemetry>,
    access_log: AccessLog,
    log_level: LogLevel,
    supervisor: Supervisor,
    workers: usize,
    started: Instant,
    stopping: AtomicBool,
    /// Another process has taken over, and with it what is kept of alerts.
    upgraded: AtomicBool,
    in_use: Mutex<reload::InUse>,
    generations: Arc<Generations>,
    orders: mpsc::Sender<reload::Ordered>,
    /// Why the newest configuration was refused.
    config_error: Mutex<Option<String>>,
    expiry: Mutex<expiry::Told>,
    /// Keys of the admin API.
    keys: Arc<ArcSwap<Keyring>>,
    audit: Arc<Audit>,
    events: Arc<Bus>,
    monitor: Arc<Monitor>,
    alerts: Arc<Alerts>,
    sla: Arc<Sla>,
    acme: Manager,
    webhooks: Webhooks,
    receivers: Arc<Receivers>,
    spool: Mutex<Option<spool::Running>>,
    spool_watch: Mutex<observe::SpoolWatch>,
    failover: Arc<Orchestrator>,
}

/// Whether this process is to take another one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaces {
    Nobody,
    /// The one that uses the same `state.path`, if there is one.
    Namesake,
    /// The one behind this socket.
    Behind(PathBuf),
}

/// Runs the proxy with this configuration until a signal ends it, or another process takes over.
///
/// # Errors
/// [`Failure`], before anything was accepted.
pub fn run(path: &Path, replaces: &Replaces) -> Result<(), Failure> {
    let loaded = config::load(path).map_err(Failure::Config)?;
    let log_level =
        logging::init(&loaded.config.logging.level, logging::Format::detect()).map_err(|error| error.to_string())?;
    let generations = Generations::open(&loaded.config.state_path);
    let loaded = reload::held(&generations, path, loaded);
    let warnings = &loaded.warnings;
    if !warnings.is_empty() {
        // Losing a warning is no reason not to start.
        let _ = write!(std::io::stderr(), "{warnings}");
    }
    check_certificates(&loaded.config).map_err(Failure::Certificate)?;
    // It changes the environment, so it comes before the first thread.
    let inherited = Inherited::from_service_manager()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot make an event loop: {error}"))?;
    let start = Start { loaded, generations, log_level, inherited };
    runtime.block_on(serve(path, start, replaces))
}

/// What is there before the event loop.
struct Start {
    loaded: Loaded,
    generations: Generations,
    log_level: LogLevel,
    inherited: Inherited,
}

async fn serve(path: &Path, start: Start, replaces: &Replaces) -> Result<(), Failure> {
    let Start { loaded, generations, log_level, mut inherited } = start;
    let Loaded { config, text, hash, files, .. } = loaded;
    let telemetry = Arc::new(Telemetry::new().map_err(|error| format!("cannot set up metrics: {error}"))?);
    // From here on these two wait until they are listened to; not caught, they would end the process.
    let (hangup, asked) = (caught(SignalKind::hangup())?, caught(SignalKind::user_defined2())?);
    let mut takeover = begin_takeover(replaces, &config, &mut inherited).await?;
    let listeners = bind_all(&config, &mut inherited)?;
    let admin_socket = match inherited.take(Role::Admin, "", &config.admin.address) {
        Some(bound) => bound,
        None => bind(&config.admin.address, "admin.address")?,
    };
    let admin_hold = admin_socket.hold().map_err(|error| format!("cannot start the admin listener: {error}"))?;
    let upgrades = Upgrades::prepare(&config.state_path, &mut inherited, admin_hold);
    let taken = inherited.finish();
    let access_log = AccessLog::open(&config.logging.access_log)
        .map_err(|error| format!("cannot open the access log (logging.access_log): {error}"))?;
    let keys = keys(&config);
    let masters_tls = tls_of_masters(&config)?;
    let published = Arc::new(ArcSwap::from_pointee(
        Snapshot::build(config, masters_tls, None).numbered(generations.first(&text).0),
    ));
    let snapshot = published.load_full();
    States::load(&snapshot).restore(&snapshot);
    let (phase, phases) = watch::channel(Phase::Serving);
    let workers = start_workers(&snapshot, &published, &telemetry, &access_log, &phases)?;
    let lanes = workers.iter().map(|worker| worker.lane.clone()).collect();
    let acceptor = Acceptor::start(lanes, published.clone(), telemetry.hot.worker());
    let acceptor = acceptor.map_err(|error| format!("cannot start the acceptor: {error}"))?;
    let events: Arc<Bus> = Arc::default();
    let failover = Orchestrator::start(telemetry.clone(), events.clone());
    let failover = Arc::new(failover.map_err(|error| format!("cannot start the failover thread: {error}"))?);
    let on_change = observe::on_change(telemetry.clone(), published.clone(), events.clone(), failover.clone());
    let checker = Checker::new(tokio::runtime::Handle::current(), on_change);
    checker.update(monitored(&snapshot));
    let acme = Manager::new(tokio::runtime::Handle::current(), telemetry.clone(), events.clone());
    acme.update(&snapshot.config);
    let webhooks = Webhooks::new(tokio::runtime::Handle::current(), events.clone(), telemetry.clone());
    webhooks.update(&snapshot.config.event_webhooks);
    let alerts: Arc<Alerts> = Arc::default();
    let receivers = Receivers::new(tokio::runtime::Handle::current(), alerts.clone(), telemetry.clone());
    receivers.update(&snapshot.config.alerts.receivers);
    let audit = Audit::start(&snapshot.config.state_path, takeover.is_some(), events.clone());
    let audit = audit.map_err(|error| format!("cannot start the audit trail: {error}"))?;
    let (orders, ordered) = mpsc::channel(reload::ORDERS_MAX);
    let control = Arc::new(Control {
        path: path.to_owned(),
        published,
        acceptor,
        checker,
        telemetry,
        access_log,
        log_level,
        supervisor: Supervisor::from_environment(),
        workers: workers.len(),
        started: Instant::now(),
        stopping: AtomicBool::new(false),
        upgraded: AtomicBool::new(false),
        in_use: Mutex::new(reload::InUse { hash, text: text.into() }),
        generations: Arc::new(generations),
        orders,
        config_error: Mutex::default(),
        expiry: Mutex::default(),
        keys: Arc::new(ArcSwap::from_pointee(keys)),
        audit: Arc::new(audit),
        events,
        monitor: Arc::default(),
        alerts,
        sla: Arc::default(),
        acme,
        webhooks,
        receivers: Arc::new(receivers),
        spool: Mutex::default(),
        spool_watch: Mutex::default(),
        failover,
    });
    let admin_address = admin_socket.address();
    // The socket of a process that still serves is that one's to answer.
    let mut door = Some(admin_socket);
    let mut admin = None;
    if takeover.is_none() {
        control.open_spool(&snapshot.config, spool::PATIENCE).await?;
        control.failover.prepare(&snapshot.config).await?;
        admin = door.take().map(|socket| start_admin(socket, &control)).transpose()?;
    }
    verdicts(&snapshot, |_| true).await;
    // Until here they simply end the process. Whoever reads that it is ready may send one at once.
    let signals =
        Signals { hangup, terminate: caught(SignalKind::terminate())?, interrupt: caught(SignalKind::interrupt())? };
    // Before the old process lets go of the store, so that it can pass on what comes to it from then on.
    let relay = takeover.as_ref().map(|_| Relay::start(&control, &snapshot.config.state_path)).transpose();
    let relay = relay.map_err(|error| format!("cannot bind the socket for messages of the old process: {error}"))?;
    if let Some(takeover) = &mut takeover {
        takeover.ready(taken.numbers.clone()).await?;
        control.audit.resume();
        control.open_spool(&snapshot.config, spool::PATIENCE).await?;
        control.failover.prepare(&snapshot.config).await?;
        admin = door.take().map(|socket| start_admin(socket, &control)).transpose()?;
    }
    let monitor = monitor::start(control.clone()).map_err(|error| format!("cannot start the monitor: {error}"))?;
    // Before anything is accepted, every account has its owner.
    control.failover.adopt(&snapshot).await;
    announce(&control, &snapshot, listeners, &admin_address)?;
    if let Some(takeover) = takeover {
        taken.claim_files();
        takeover.serving().await;
        control.telemetry.cold.counter(&names::UPGRADES, &["completed"]).increment(1);
        let message = "this process has taken the place of another one";
        control.events.publish(Event::new(Kind::UpgradeCompleted, Severity::Info, message));
    }
    control.started(snapshot.generation);
    control.keep_first(&snapshot.config);
    let end = watch_over(&control, files, signals, ordered, upgrades.until_succeeded(&control, asked)).await;
    if let End::Succeeded(Successor(peer)) = &end {
        control.supervisor.succeeded_by(peer.pid);
        control.upgraded.store(true, Ordering::Release);
        tracing::info!(pid = peer.pid, "another process serves now");
        // It answers on the same socket.
        control.events.close();
        stop_admin(&mut admin);
    } else {
        control.supervisor.stopping();
    }
    // Looks at alerts end here too, or are the other process's.
    control.receivers.stop();
    let patience = match end {
        End::Fast => Duration::ZERO,
        End::Drain | End::Succeeded(_) => control.published.load().config.drain_timeout,
    };
    let grace = match end {
        End::Succeeded(_) => HAND_OVER_GRACE.min(patience / 2).max(DRAIN_GRACE),
        End::Fast | End::Drain => DRAIN_GRACE,
    };
    stop(&control, &phase, workers, patience, grace).await;
    drop(relay);
    control.events.close();
    control.webhooks.finish(LAST_WORDS).await;
    control.receivers.finish(LAST_WORDS).await;
    control.audit.release().await;
    stop_admin(&mut admin);
    monitor.stop();
    if !control.access_log.close(LOG_CLOSE) {
        tracing::warn!("the access log did not take its last lines in time");
    }
    Ok(())
}

async fn begin_takeover(
    replaces: &Replaces,
    config: &model::Config,
    inherited: &mut Inherited,
) -> Result<Option<Takeover>, String> {
    match replaces {
        Replaces::Nobody => Ok(None),
        Replaces::Namesake => {
            let socket = upgrade::socket_path(&config.state_path);
            let takeover = Takeover::begin(&socket, inherited).await?;
            if takeover.is_none() {
                tracing::info!("nobody to take over from at {}", socket.display());
            }
            Ok(takeover)
        }
        Replaces::Behind(socket) => match Takeover::begin(socket, inherited).await? {
            None => Err(format!("cannot take over through {}: nobody is there", socket.display())),
            takeover => Ok(takeover),
        },
    }
}

/// A listener of the configuration, bound.
struct Ready {
    name: String,
    bound: Bound,
    tls: Option<Arc<Gate>>,
    limit: usize,
    is_tcp: bool,
}

fn bind_all(config: &model::Config, inherited: &mut Inherited) -> Result<Vec<Ready>, String> {
    let mut ready = |listener: &model::Listener| {
        let tls = certificates(listener, None)?;
        let bound = match inherited.take(Role::Listener, &listener.name, &listener.address) {
            Some(bound) => bound,
            None => bind(&listener.address, &format!("listener {}", listener.name))?,
        };
        let (name, limit, is_tcp) = (listener.name.clone(), listener.limits.connections, listener.tcp.is_some());
        Ok(Ready { name, bound, tls, limit, is_tcp })
    };
    config.listeners.iter().map(&mut ready).collect()
}

/// Checks that every certificate of the configuration can be used, together with its key.
///
/// # Errors
/// One line about the first that cannot.
pub fn check_certificates(config: &model::Config) -> Result<(), String> {
    config.listeners.iter().try_for_each(|listener| certificates(listener, None).map(drop))?;
    tls_of_masters(config).map(drop)
}

/// How TLS is spoken with each master of each upstream.
fn tls_of_masters(config: &model::Config) -> Result<Vec<Vec<Option<Arc<MasterTls>>>>, String> {
    let of_upstream = |upstream: &model::Upstream| {
        tls::client::of_masters(upstream).map_err(|error| format!("upstream {}: {error}", upstream.name))
    };
    config.upstreams.iter().map(of_upstream).collect()
}

/// The gate of a listener, which may keep certificates of the one it had `before`.
fn certificates(listener: &model::Listener, before: Option<&Gate>) -> Result<Option<Arc<Gate>>, String> {
    gate(listener, before).map_err(|error| format!("listener {}: {error}", listener.name))
}

fn start_workers(
    snapshot: &Snapshot,
    published: &Arc<ArcSwap<Snapshot>>,
    telemetry: &Telemetry,
    access_log: &AccessLog,
    phases: &watch::Receiver<Phase>,
) -> Result<Vec<Worker>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let start = |index| {
        let supplies = Supplies {
            published: published.clone(),
            metrics: telemetry.hot.worker(),
            log: access_log.worker(),
            phase: phases.clone(),
        };
        worker::start(index, supplies).map_err(|error| format!("cannot start worker {index}: {error}"))
    };
    (0..snapshot.config.workers.unwrap_or(cores)).map(start).collect()
}

/// The running admin listener, and the file of its socket, to be removed after it.
type Admin = (admin::Admin, Option<SocketFile>);

fn start_admin(socket: Bound, control: &Arc<Control>) -> Result<Admin, String> {
    let (listener, file) = match socket {
        Bound::Tcp(listener) => (admin::Listener::Tcp(listener), None),
        Bound::Unix(listener, file) => (admin::Listener::Unix(listener), Some(file)),
    };
    let state = AdminState {
        source: control.clone(),
        operations: control.clone(),
        telemetry: control.telemetry.clone(),
        keys: control.keys.clone(),
        audit: control.audit.clone(),
        monitor: control.monitor.clone(),
        alerts: control.alerts.clone(),
        receivers: control.receivers.clone(),
        generations: control.generations.clone(),
        sla: control.sla.clone(),
        backups: Arc::default(),
        events: control.events.clone(),
        event_readers: admin::events::places(),
        state_path: control.published.load().config.state_path.clone(),
    };
    let started = admin::start(listener, Arc::new(state));
    Ok((started.map_err(|error| format!("cannot start the admin listener: {error}"))?, file))
}

/// The keys of the admin API; none when they cannot be had, which shuts out everybody but readers on this machine.
fn keys(config: &model::Config) -> Keyring {
    let elsewhere = matches!(config.admin.address, model::ListenAddress::Tcp(address) if !address.ip().is_loopback());
    if elsewhere && config.admin.keys.is_empty() {
        tracing::info!("without `admin.keys` the admin API answers other machines with /metrics and health only");
    }
    admin::keys::of(config).unwrap_or_else(|error| {
        tracing::warn!("nobody can change anything through the admin API: {error}");
        Keyring::default()
    })
}

fn stop_admin(admin: &mut Option<Admin>) {
    if let Some((admin, _file)) = admin.take() {
        admin.stop(ADMIN_STOP);
    }
}

fn monitored(snapshot: &Snapshot) -> Vec<MonitoredMaster> {
    let of_upstream = |upstream: &Arc<Upstream>| {
        let each = upstream.settings.masters.iter().zip(&upstream.masters).zip(&upstream.tls);
        let watched = each.map(|((settings, master), tls)| MonitoredMaster {
            master: master.clone(),
            name: settings.name.clone(),
            check: upstream.settings.health_check.clone(),
            tls: tls.clone(),
            protocol: upstream.settings.protocol,
        });
        watched.collect::<Vec<_>>()
    };
    snapshot.upstreams.iter().flat_map(of_upstream).collect()
}

/// Waits until each master has a verdict, and an address, in the upstreams that `wanting` says are in want of one; but not
/// for long: a master that hangs must not keep the others from serving. Those still unknown stay out of rotation
/// until their probe is answered.
async fn verdicts(snapshot: &Snapshot, wanting: impl Fn(&Upstream) -> bool) {
    let open = |master: &Master| {
        let nameless = matches!(master.address(), model::Address::Name { .. }) && master.addresses().is_empty();
        master.admission().health() == Health::Unknown || nameless
    };
    let any_open = |upstream: &Upstream| wanting(upstream) && upstream.masters.iter().any(|master| open(master));
    let waiting = async {
        while snapshot.upstreams.iter().any(|upstream| any_open(upstream)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_VERDICTS, waiting).await;
}

/// Opens the listeners and says where they are.
fn announce(control: &Control, snapshot: &Snapshot, listeners: Vec<Ready>, admin: &str) -> Result<(), String> {
    let mut said = String::new();
    for Ready { name, bound, tls, limit, is_tcp } in listeners {
        let scheme = match (is_tcp, tls.is_some()) {
            (false, false) => "http",
            (false, true) => "https",
            (true, false) => "tcp",
            (true, true) => "tls",
        };
        said.push_str(&format!("listening on {scheme}://{} (listener {name})\n", bound.address()));
        control.acceptor.open(&name, bound, tls, limit).map_err(|error| format!("listener {name}: {error}"))?;
    }
    said.push_str(&format!("admin on http://{admin}\nready\n"));
    tracing::info!(generation = snapshot.generation, workers = control.workers, "ready");
    // With standard output closed nobody is waiting for these lines.
    let _ = std::io::stdout().write_all(said.as_bytes());
    Ok(())
}

/// Why a process stops serving.
enum End {
    /// SIGTERM.
    Drain,
    /// SIGINT.
    Fast,
    /// Another process has taken over.
    Succeeded(Successor),
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

fn caught(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot catch signals: {error}"))
}

/// Reloads on SIGHUP and when a file changes, and lets others take over, until it is to end.
async fn watch_over(
    control: &Arc<Control>,
    files: Vec<PathBuf>,
    signals: Signals,
    mut ordered: mpsc::Receiver<reload::Ordered>,
    succeeded: impl Future<Output = Successor>,
) -> End {
    let Signals { mut hangup, mut terminate, mut interrupt } = signals;
    let mut files = files::Files::watch(&control.path, files);
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    let mut keeping = tokio::time::interval(kept::INTERVAL);
    let mut pulse = control.supervisor.pulse().map(tokio::time::interval);
    let mut succeeded = std::pin::pin!(succeeded);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                control.supervisor.reloading();
                if let Err(error) = control.access_log.reopen() {
                    tracing::error!(%error, "cannot reopen the access log");
                }
                files.follow(control.reload(&Author::own("signal"), true).await);
                control.acme.retry();
                control.supervisor.ready(control.published.load().generation);
            }
            () = files.changed() => files.follow(control.reload(&Author::own("file"), false).await),
            Some(order) = ordered.recv() => files.follow(control.carry_out_order(order).await),
            _ = upkeep.tick() => {
                control.upkeep();
                control.take_back_spool(Duration::ZERO).await;
            }
            _ = keeping.tick() => {
                control.keep();
                control.observe_spool();
            }
            () = tick(&mut pulse) => control.supervisor.alive(),
            _ = terminate.recv() => return End::Drain,
            _ = interrupt.recv() => return End::Fast,
            successor = &mut succeeded => return End::Succeeded(successor),
        }
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

async fn stop(
    control: &Control,
    phase: &watch::Sender<Phase>,
    workers: Vec<Worker>,
    patience: Duration,
    grace: Duration,
) {
    control.stopping.store(true, Ordering::Release);
    control.audit_process("process.stop");
    control.events.publish(Event::new(Kind::ProcessStopping, Severity::Info, "this process is stopping"));
    if patience == Duration::ZERO {
        tracing::info!("stopping at once");
    } else {
        tracing::info!("stopping; requests in flight have {} s to finish (drain_timeout)", patience.as_secs_f32());
    }
    control.acceptor.close_all();
    control.acme.stop();
    control.drain_spool();
    phase.send_replace(Phase::Draining(grace));
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && workers.iter().any(|worker| !worker.thread.is_finished()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cut = workers.iter().filter(|worker| !worker.thread.is_finished()).count();
    phase.send_replace(Phase::Stopped);
    for worker in workers {
        if worker.thread.join().is_err() {
            tracing::error!("a worker had panicked");
        }
    }
    // What workers were still storing is on disk by now, or refused.
    control.close_spool(deadline.saturating_duration_since(Instant::now())).await;
    if cut > 0 && patience > Duration::ZERO {
        tracing::warn!(workers = cut, "the time to drain was over; what was still open has been closed");
    }
    tracing::info!("stopped");
}

impl Control {
    fn upkeep(&self) {
        self.telemetry.cold.upkeep();
        let now = crate::clock::now();
        let snapshot = self.published.load();
        snapshot.guards.iter().flatten().for_each(|guard| guard.sweep(now));
        for upstream in &snapshot.upstreams {
            if let Some(pins) = &upstream.pins {
                pins.sweep(now);
            }
        }
        self.tell_of_ends();
    }

    /// Warns of certificates that are about to end.
    fn tell_of_ends(&self) {
        let snapshot = self.published.load();
        let in_use = snapshot.config.listeners.iter().flat_map(|listener| {
            let gate = self.acceptor.address(&listener.name).and_then(|(_, gate)| gate);
            let ends: Vec<_> = gate
                .iter()
                .flat_map(|gate| gate.certificates())
                .filter_map(|facts| {
                    Some(expiry::Certificate {
                        listener: listener.name.clone(),
                        name: facts.title().to_owned(),
                        end: facts.not_after?,
                    })
                })
                .collect();
            ends
        });
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let due = self.expiry.lock().unwrap_or_else(PoisonError::into_inner).due(in_use.collect(), now);
        expiry::tell(&due, now, &self.events);
    }

    /// Says whether it is another one than before.
    fn set_config_error(&self, error: Option<String>) -> bool {
        let mut known = self.config_error.lock().unwrap_or_else(PoisonError::into_inner);
        let new = *known != error;
        *known = error;
        new
    }
}
