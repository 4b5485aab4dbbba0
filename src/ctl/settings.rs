//! `baton ctl strategy`, `weight` and `priority`.

use super::client::Client;
use super::config::{Change, changed};
use super::masters::{path_of, segment};
use super::{Answer, Failure};
use crate::admin::view::{SetPriority, SetStrategy, SetWeight};

#[derive(Debug, clap::Args)]
pub struct Strategy {
    /// Name of the upstream
    upstream: String,
    /// As in the configuration, such as least-loaded
    strategy: String,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, clap::Args)]
pub struct Weight {
    /// Name of the master
    master: String,
    /// Its part of the load, in proportion to the others'
    weight: u32,
    /// Its upstream; needed where several upstreams have a master of that name
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, clap::Args)]
pub struct Priority {
    /// Name of the master
    master: String,
    /// 0 is the most preferred
    priority: u32,
    /// Its upstream; needed where several upstreams have a master of that name
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    #[command(flatten)]
    change: Change,
}

pub async fn strategy(client: &Client, args: &Strategy) -> Result<Answer, Failure> {
    let Strategy { upstream, strategy, change: Change { dry_run, reason } } = args;
    let asked = SetStrategy { strategy: strategy.clone(), dry_run: *dry_run, reason: reason.clone() };
    let path = format!("/api/v1/upstreams/{}/strategy", segment(upstream)?);
    changed(client, &path, &asked, *dry_run).await
}

pub async fn weight(client: &Client, args: &Weight) -> Result<Answer, Failure> {
    let Weight { master, weight, upstream, change: Change { dry_run, reason } } = args;
    let asked = SetWeight { weight: *weight, dry_run: *dry_run, reason: reason.clone() };
    let path = path_of(client, master, upstream.as_deref(), "weight").await?;
    changed(client, &path, &asked, *dry_run).await
}

pub async fn priority(client: &Client, args: &Priority) -> Result<Answer, Failure> {
    let Priority { master, priority, upstream, change: Change { dry_run, reason } } = args;
    let asked = SetPriority { priority: *priority, dry_run: *dry_run, reason: reason.clone() };
    let path = path_of(client, master, upstream.as_deref(), "priority").await?;
    changed(client, &path, &asked, *dry_run).await
}
