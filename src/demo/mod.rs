//! `baton demo`: three bots, Baton and a gateway on this machine, with nothing to set up, to see what happens when a bot
//! dies, hangs, or the configuration changes.
//!
//! It promises to leave nothing behind, however it ends: its children are tethered to it ([`tether`]), reaped when it
//! ends by itself, and its directory is removed unless it is killed.

mod child;
mod screen;
mod script;
mod settings;
mod stage;
mod status;
pub mod tether;

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::sample::parse_duration;
use screen::{Scene, Screen};
use script::{Action, Script, Step};
use stage::{Event, RESTART_AFTER, Stage};
use status::Status;

/// What `baton demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Webhooks a second
    #[arg(long, default_value = "400")]
    pub rate: NonZeroU32,
    /// End by itself after this time, such as 30s
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Kill, stop and reconfigure by itself, tell what came of it, and end
    #[arg(long)]
    pub script: bool,
}

/// Runs the demo until its time is over, its script is played, or a signal ends it.
///
/// The thread that calls it owns the children: they die with that thread. Call it from `block_on` on the main thread.
///
/// # Errors
/// When something does not start, or the proxy ends by itself.
pub async fn run(args: Args) -> io::Result<()> {
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut end = Signals::new()?;
    let mut stage = tokio::select! {
        stage = Stage::set(args.rate) => stage?,
        () = end.any() => return Ok(()),
    };
    let shown = show(&args, Screen { color }, &mut stage, &mut end).await;
    stage.clear().await;
    match shown {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => shown,
    }
}

async fn show(args: &Args, screen: Screen, stage: &mut Stage, end: &mut Signals) -> io::Result<()> {
    introduce(args, screen, stage)?;
    let mut script = None;
    if args.script {
        let (begun, says) = Script::begin();
        script = Some(begun);
        say(&screen.narration(says))?;
    }
    let first = Instant::now() + Duration::from_secs(1);
    let mut ticks = tokio::time::interval_at(first, Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = async {
        match args.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut before: Option<Status> = None;
    for second in 1.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut over => break,
            () = end.any() => {
                say("\n")?;
                break;
            }
        }
        let window = stage.gateway.take_window();
        let now = Status::read(stage.admin_address).await;
        say(&screen.second(second, &window, now.as_ref()))?;
        for sentence in Screen::changes(before.as_ref(), now.as_ref()) {
            say(&screen.event(&sentence))?;
        }
        for event in stage.tend().await {
            say(&screen.event(&sentence(stage, &event)))?;
        }
        if let Some(status) = stage.proxy.ended()? {
            return Err(io::Error::other(format!("the proxy ended by itself ({status}); {}", stage.log_end())));
        }
        let healthy = now.as_ref().is_some_and(Status::all_healthy) && stage.masters.iter().all(|m| m.pid().is_some());
        if now.is_some() {
            before = now;
        }
        match script.as_mut().map_or(Step::Nothing, |script| script.second(&window, healthy)) {
            Step::Nothing => {}
            Step::Next { result, action, says } => {
                say(&screen.narration(&format!("In this time: {result}.\n\n{says}")))?;
                act(stage, action)?;
            }
            Step::End { result } => {
                say(&screen.narration(&format!("In this time: {result}.")))?;
                break;
            }
        }
    }
    let elapsed = stage.gateway.elapsed();
    let tally = stage.gateway.tally();
    say(&screen.summary(&tally, elapsed))
}

fn introduce(args: &Args, screen: Screen, stage: &Stage) -> io::Result<()> {
    let (config, log) = (stage.config(), stage.log());
    say(&screen.introduction(&Scene {
        rate: args.rate.get(),
        proxy: (stage.proxy_address, stage.proxy.pid()),
        admin: stage.admin_address,
        masters: stage.masters.iter().map(|m| (m.name, m.address, m.pid().unwrap_or_default())).collect(),
        config: &config,
        log: &log,
        script: args.script,
    }))
}

fn act(stage: &mut Stage, action: Action) -> io::Result<()> {
    match action {
        Action::Watch => Ok(()),
        Action::Kill(master) => stage.masters[master].signal(Signal::KILL),
        Action::Stop(master) => stage.masters[master].signal(Signal::STOP),
        Action::Continue(master) => stage.masters[master].signal(Signal::CONT),
        Action::Reweigh => {
            stage.settings.weighted = true;
            stage.apply()
        }
    }
}

fn sentence(stage: &Stage, event: &Event) -> String {
    match event {
        Event::Died { master, how } => {
            let name = stage.masters[*master].name;
            format!("{name} is dead ({how}); the demo starts it again in {} s", RESTART_AFTER.as_secs())
        }
        Event::Restarted { master, pid } => {
            format!("{} runs again as process {pid}", stage.masters[*master].name)
        }
        Event::RestartFailed { master, why } => {
            format!("{} could not be started again, next try in a second: {why}", stage.masters[*master].name)
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What a terminal or a supervisor sends to end a program.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let [interrupt, terminate, hangup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Ok(Self([signal(interrupt)?, signal(terminate)?, signal(hangup)?]))
    }

    /// Returns when one has come. Cancel-safe.
    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
