//! `baton ctl drain`, `ready` and `maintenance`.

use super::client::Client;
use super::table::printable;
use super::{Answer, Failure};
use crate::admin::view::{OperatorState, OperatorStateSet, SetOperatorState, StatusView};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the master
    master: String,
    /// Its upstream; needed where several upstreams have a master of that name
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Only say what would follow
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub async fn run(client: &Client, args: &Args, state: OperatorState) -> Result<Answer, Failure> {
    let path = path_of(client, &args.master, args.upstream.as_deref(), "operator-state").await?;
    let body = SetOperatorState { state, dry_run: args.dry_run, reason: args.reason.clone() };
    let set: OperatorStateSet = client.post(&path, &body).await?;
    let (before, now) = (set.before.word(), set.operator_state.word());
    if set.dry_run {
        let effects: String = set.effects.iter().map(|effect| format!("  {}\n", printable(effect))).collect();
        return Answer::new(
            &set,
            format!("{} of {} from {before} to {}:\n{effects}", set.master, set.upstream, state.word()),
        );
    }
    let text = if before == now {
        format!("{} of {} was in {now} already", set.master, set.upstream)
    } else {
        let meaning = match set.operator_state {
            OperatorState::Ready => "it is used again, once a probe has found it well where it is probed",
            OperatorState::Drain => "it keeps the conversations it has and gets no new ones while others can take them",
            OperatorState::Maintenance => "it gets nothing any more and is not probed; what is in flight may finish",
        };
        format!("{} of {}: {before} -> {now}; {meaning}", set.master, set.upstream)
    };
    Answer::new(&set, text)
}

/// The path of what is asked of a master, in the upstream that is named or else is the only one that has it.
pub async fn path_of(client: &Client, master: &str, upstream: Option<&str>, what: &str) -> Result<String, Failure> {
    let upstream = match upstream {
        Some(upstream) => upstream.to_owned(),
        None => only_upstream(&client.get("/api/v1/status").await?, master)?,
    };
    Ok(format!("/api/v1/upstreams/{}/masters/{}/{what}", segment(&upstream)?, segment(master)?))
}

/// The one upstream that has a master of this name.
fn only_upstream(status: &StatusView, master: &str) -> Result<String, Failure> {
    let has = |upstream: &&crate::admin::view::UpstreamView| upstream.masters.iter().any(|known| known.name == master);
    let names: Vec<&str> = status.upstreams.iter().filter(has).map(|upstream| &*upstream.name).collect();
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => {
            let masters = status.upstreams.iter().flat_map(|upstream| &upstream.masters);
            let known: Vec<&str> = masters.map(|master| &*master.name).take(20).collect();
            Err(Failure::Failed(format!("there is no master {master}; there are {}", known.join(", "))))
        }
        _ => Err(Failure::Usage(format!(
            "{master} is in several upstreams: say which with --upstream, one of {}",
            names.join(", ")
        ))),
    }
}

/// A name as a segment of a path; names of anything have no other characters.
pub fn segment(name: &str) -> Result<&str, Failure> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let valid = !name.is_empty() && name.bytes().all(plain) && ![".", ".."].contains(&name);
    if valid { Ok(name) } else { Err(Failure::Usage(format!("{} is no name", super::table::printable(name)))) }
}
