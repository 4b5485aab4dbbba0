//! Failover: somebody to take over, and nothing that gets around it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::file;
use super::super::model::{Failover, Hooks, Recovery, Secret};
use super::super::shape::At;
use super::super::units::{self, UrlPath, WhenAllDown, show_time};
use super::Checker;
use crate::balance::accounts::EVERY;

/// As many as the key of AES-256 has that is made of it.
const KEY_BYTES_MIN: usize = 32;

/// `None` in the outer place when something is wrong, in the inner one when nothing was given.
pub fn check(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) -> Option<Option<Failover>> {
    let Some(rules) = upstream.failover.get()? else { return Some(None) };
    check_standbys(checker, upstream);
    if upstream.all_down.get() == Some(&WhenAllDown::Panic) {
        let message = "`all_down: panic` sends requests to masters that failover has taken them from";
        let report = checker.error(upstream.all_down.node, message);
        checker.push(report.help("leave it out: with `failover` requests wait for the next master"));
        return None;
    }
    let recovery = rules.recovery.get()?;
    let (deadline, connect) = (rules.deadline.get()?.0, upstream.connect_timeout.get()?.0);
    if deadline < connect && checker.is_given(rules.deadline.node) {
        let (deadline, connect) = (show_time(deadline), show_time(connect));
        let message = format!("a `deadline` of {deadline} is shorter than the `connect_timeout` of {connect}");
        checker.push(checker.warning(rules.deadline.node, message));
    }
    let hooks = match rules.hooks.get()? {
        Some(hooks) => Some(self::hooks(checker, &rules.hooks, hooks, deadline)?),
        None => None,
    };
    Some(Some(Failover {
        mode: *rules.mode.get()?,
        deadline,
        failback: *rules.failback.get()?,
        stable_after: rules.stable_after.get()?.0,
        recovery: Recovery { timeout: recovery.timeout.get()?.0, max_attempts: recovery.max_attempts.get()?.u32() },
        hooks,
    }))
}

fn hooks(
    checker: &mut Checker<'_, '_>,
    at: &At<Option<file::Hooks>>,
    hooks: &file::Hooks,
    deadline: Duration,
) -> Option<Hooks> {
    let path = |path: &At<Option<UrlPath>>| Some(path.get()?.as_ref().map(|path| path.0.clone()));
    let (export, import) = (path(&hooks.export)?, path(&hooks.import)?);
    let (activate, deactivate) = (path(&hooks.activate)?, path(&hooks.deactivate)?);
    if [&export, &import, &activate, &deactivate].iter().all(|path| path.is_none()) {
        let report = checker.error(at.node, "these hooks name no path, so that nothing is called");
        checker.push(report.help("name those that the masters have: `export`, `import`, `activate`, `deactivate`"));
        return None;
    }
    let alone = match (&export, &import) {
        (Some(_), None) => Some((hooks.export.node, "what is exported goes nowhere without `import`")),
        (None, Some(_)) => Some((hooks.import.node, "there is nothing to import without `export`")),
        _ => None,
    };
    if let Some((node, message)) = alone {
        checker.push(checker.warning(node, message));
    }
    let secret = |secret: &units::Secret| Secret(secret.0.clone());
    let (signs, key) = (hooks.secret.get()?.as_ref().map(secret), hooks.key.get()?.as_ref().map(secret));
    if signs.is_none() {
        let report = checker.warning(at.node, "without a `secret` masters cannot tell who calls their hooks");
        checker.push(report.help("make one with `openssl rand -hex 32`, and give it to the masters, too"));
    }
    if key.as_ref().is_some_and(|key| key.0.len() < KEY_BYTES_MIN) {
        let message = format!("this key has fewer than {KEY_BYTES_MIN} bytes and could be guessed");
        let report = checker.error(hooks.key.node, message);
        checker.push(report.help("make one with `openssl rand -hex 32`"));
        return None;
    }
    let timeout = hooks.timeout.get()?.0;
    if timeout > deadline {
        let (timeout, deadline) = (show_time(timeout), show_time(deadline));
        let message = format!("a call may take {timeout}, and a failover as a whole {deadline}");
        let report = checker.warning(hooks.timeout.node, message);
        checker.push(report.help("import and activation of at least two masters should fit into `failover.deadline`"));
    }
    Some(Hooks {
        export,
        import,
        activate,
        deactivate,
        timeout,
        interval: hooks.interval.get()?.0,
        max_bytes: usize::try_from(hooks.max_bytes.get()?.0).unwrap_or(usize::MAX),
        secret: signs,
        key,
    })
}

/// Warns of what only one master serves.
fn check_standbys(checker: &mut Checker<'_, '_>, upstream: &file::Upstream) {
    let masters = || upstream.masters.get().into_iter().flatten().filter_map(At::get);
    let node = upstream.failover.node;
    if masters().count() == 1 {
        checker.push(checker.warning(node, "there is one master, and none to take over from it"));
        return;
    }
    let accounts = |master: &file::Master| -> Vec<String> {
        let accounts = master.accounts.get().into_iter().flatten().filter_map(At::get);
        accounts.map(|account| account.0.clone()).collect()
    };
    let everywhere = masters().filter(|master| accounts(master).iter().any(|name| name == EVERY)).count();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for master in masters() {
        let names = accounts(master);
        if !names.iter().any(|name| name == EVERY) {
            names.into_iter().for_each(|name| *served.entry(name).or_default() += 1);
        }
    }
    let alone: Vec<String> =
        served.into_iter().filter(|(_, count)| count + everywhere < 2).map(|(name, _)| name).collect();
    if let [first, rest @ ..] = &alone[..] {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        checker.push(
            checker
                .warning(node, format!("account {first}{more} is served by one master, and none to take over from it")),
        );
    }
}
