//! The command line: what was asked for, done, and an exit code.
//!
//! Exit codes: 0 well, 1 failed at run time, 2 wrong usage or configuration.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

use crate::config;
use crate::server::{self, Failure, Replaces};
use crate::spool::store;
use crate::{admin, audit, ctl, demo, sample};

const EXIT_CODES: &str = "Exit codes: 0 well, 1 failed at run time, 2 wrong usage or configuration.";

const SIGNALS: &str = "\
Signals: SIGHUP reads the configuration again and reopens the access log; SIGUSR2 starts the program anew and hands the \
sockets over to it; SIGTERM finishes what is in flight and stops; SIGINT (Ctrl-C) stops at once.
Once it serves, it prints the addresses it listens on and `ready` to standard output; its log goes to standard error, \
as text to a terminal and else as JSON.";

/// An HTTP load balancer between WhatsApp gateways and the bots that answer them.
#[derive(Debug, Parser)]
#[command(name = "baton", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    #[command(after_help = SIGNALS)]
    Run {
        /// Configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Take the place of the running process with the same `state.path`, or of the one behind SOCKET, without a
        /// dropped connection
        #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true)]
        takeover: Option<Option<PathBuf>>,
    },
    /// Check a configuration file and explain what is wrong with it
    Check {
        /// Configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show the balancer coping: three sample masters, a sample gateway and the proxy, all on loopback
    Demo(demo::Args),
    /// Run a bot that answers everything, to try things with
    SampleMaster(sample::master::Args),
    /// Send webhooks at a fixed rate and measure the answers
    SampleGateway(sample::gateway::Args),
    /// Put a copy that `baton ctl backup` made in the place of the stored messages; Baton must not run
    Restore {
        /// The copy
        file: PathBuf,
        /// Configuration file, for `state.path`
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Replace what is stored there, which is kept as `spool.redb.replaced`
        #[arg(long)]
        replace: bool,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Make a token for the admin API
    Token {
        /// What it allows: each role may do what those before it may
        #[arg(long, value_enum)]
        role: admin::role::Role,
        /// Whom it is for, as the audit trail will say [default: USER, else the role]
        #[arg(long)]
        name: Option<String>,
        /// How long it is good: 12h, 30d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = config::parse_time)]
        ttl: Duration,
        /// Configuration file, for the keys
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Look at an audit trail on disk, while Baton runs or not
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Ask a running Baton, or have it do something
    Ctl(ctl::Args),
    /// Become another command that ends with its parent
    #[command(hide = true)]
    Tether(demo::tether::Args),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no record was changed, removed or added
    Verify {
        /// `audit` below `state.path`, or files of it, the oldest first
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    // Clap ends the process by itself for --help and for wrong usage, with 0 and 2.
    match Cli::parse().command {
        Command::Run { config, takeover } => match server::run(&config, &replaces(takeover)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                say(&mut std::io::stderr(), &failure.to_string());
                ExitCode::from(if matches!(failure, Failure::Runtime(_)) { 1 } else { 2 })
            }
        },
        Command::Check { config } => check(&config),
        Command::Demo(args) => with_runtime(demo::run(args)),
        Command::SampleMaster(args) => with_runtime(sample::master::run(args)),
        Command::SampleGateway(args) => with_runtime(sample::gateway::run(args)),
        Command::Tether(args) => {
            let Err(error) = demo::tether::run(&args);
            say(&mut std::io::stderr(), &format!("error: {error}"));
            ExitCode::FAILURE
        }
        Command::Restore { file, config, replace } => restore(&file, &config, replace),
        Command::Token { role, name, ttl, config } => token(role, name, ttl, &config),
        Command::Audit(AuditCommand::Verify { paths, json }) => verify(paths, json),
        Command::Ctl(args) => ctl::main(args),
        Command::Schema => {
            say(&mut std::io::stdout(), &config::schema());
            ExitCode::SUCCESS
        }
    }
}

/// `--takeover`, `--takeover=SOCKET`, or neither.
fn replaces(takeover: Option<Option<PathBuf>>) -> Replaces {
    match takeover {
        None => Replaces::Nobody,
        Some(None) => Replaces::Namesake,
        Some(Some(socket)) => Replaces::Behind(socket),
    }
}

fn check(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(loaded) => {
            if let Err(line) = server::check_certificates(&loaded.config) {
                say(&mut std::io::stderr(), &format!("error: {line}"));
                return ExitCode::from(2);
            }
            if !loaded.warnings.is_empty() {
                say(&mut std::io::stderr(), &loaded.warnings.to_string());
            }
            let config = &loaded.config;
            let (listeners, routes) = (config.listeners.len(), config.routes.len());
            let masters: usize = config.upstreams.iter().map(|upstream| upstream.masters.len()).sum();
            let counts =
                [(listeners, "listener"), (routes, "route"), (config.upstreams.len(), "upstream"), (masters, "master")];
            let counts = counts.map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }));
            say(&mut std::io::stdout(), &format!("{} is valid: {}", path.display(), counts.join(", ")));
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            say(&mut std::io::stderr(), &diagnostics.to_string());
            ExitCode::from(2)
        }
    }
}

fn token(role: admin::role::Role, name: Option<String>, ttl: Duration, path: &Path) -> ExitCode {
    let failed = |line: &str, code: u8| {
        say(&mut std::io::stderr(), &format!("error: {line}"));
        ExitCode::from(code)
    };
    let loaded = match config::load(path) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            say(&mut std::io::stderr(), &diagnostics.to_string());
            return ExitCode::from(2);
        }
    };
    let user = || std::env::var("USER").ok().filter(|user| admin::token::is_subject(user));
    let name = name.or_else(user).unwrap_or_else(|| role.to_string());
    if !admin::token::is_subject(&name) {
        return failed("--name: one line of 1 to 128 bytes", 2);
    }
    let keys = match admin::keys::of(&loaded.config) {
        Ok(keys) => keys,
        Err(error) => return failed(&error, 1),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match keys.issue(&name, role, now, ttl.as_secs()) {
        Some(token) => {
            say(&mut std::io::stdout(), &token);
            ExitCode::SUCCESS
        }
        None => failed("there is no key to sign with", 1),
    }
}

fn restore(file: &Path, path: &Path, replace: bool) -> ExitCode {
    let config = match config::load(path) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => {
            say(&mut std::io::stderr(), &diagnostics.to_string());
            return ExitCode::from(2);
        }
    };
    match store::restore(file, &config.state_path, replace) {
        Ok(store::Summary { pending, dead, unreadable, bytes: _ }) => {
            let mut text = format!("restored {pending} messages and {dead} dead letters");
            if unreadable > 0 {
                text.push_str(&format!("; {unreadable} cannot be read"));
            }
            say(&mut std::io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn verify(paths: Vec<PathBuf>, json: bool) -> ExitCode {
    let mut all = Vec::new();
    for path in paths {
        match if path.is_dir() { audit::files::files(&path) } else { Ok(vec![path.clone()]) } {
            Ok(files) => all.extend(files),
            Err(error) => {
                say(&mut std::io::stderr(), &format!("error: {}: {error}", path.display()));
                return ExitCode::FAILURE;
            }
        }
    }
    match audit::files::survey(&all) {
        Ok(survey) => ctl::answer(ctl::audit::verified(&admin::audit::view(survey)), json),
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: the audit trail cannot be read: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn with_runtime(work: impl Future<Output = std::io::Result<()>>) -> ExitCode {
    let outcome =
        tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| runtime.block_on(work));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&mut std::io::stderr(), &format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a text and a line end. A reader that has gone away wants to hear no more.
fn say(to: &mut impl Write, text: &str) {
    let _ = writeln!(to, "{}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    /// The words of a command line: quotes hold words together, and a `#` between words ends it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for character in line.chars() {
            let last = words.last_mut().unwrap();
            match character {
                '"' => quoted = !quoted,
                '#' if !quoted && last.is_empty() => break,
                ' ' if !quoted => words.push(String::new()),
                _ => last.push(character),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn every_command_of_the_playbook_exists_as_it_is_written() {
        let page = include_str!("../docs/alerts.md");
        let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        let commands: Vec<&str> = commands.into_iter().filter(|line| line.starts_with("baton ")).collect();
        assert!(commands.len() > 30, "{commands:?}");
        let inline = page.split('`').skip(1).step_by(2).filter(|code| code.starts_with("baton ctl "));
        let whole = commands.into_iter().map(|command| (command, true));
        for (command, whole) in whole.chain(inline.map(|command| (command, false))) {
            // In the running text a command stands without what it is about.
            let short = |error: &clap::Error| !whole && error.kind() == ErrorKind::MissingRequiredArgument;
            let parsed = Cli::try_parse_from(words(command));
            assert!(parsed.as_ref().err().is_none_or(short), "{command}: {}", parsed.unwrap_err());
        }
    }
}
