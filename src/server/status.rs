//! What the admin listener tells about the running proxy.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Control;
use crate::admin::Source;
use crate::admin::config::Present;
use crate::admin::view::{
    AccessLogDropped, AcmeView, AuditView, CertificateView, FailoverStatus, ListenerView, MasterView, RouteView,
    SpoolView, StatusView, UpstreamView,
};
use crate::audit::Standing;
use crate::config::model;
use crate::failover::record::Failover;
use crate::failover::view::FleetView;
use crate::generations::Instead;
use crate::monitor::series::Key;
use crate::snapshot::Upstream;
use crate::spool::store::Store;
use crate::tls::certificate::Facts;
use crate::tls::issued::Progress;
use crate::upstream::admission::Tier;
use crate::upstream::master::Master;

impl Source for Control {
    fn status(&self) -> StatusView {
        let snapshot = self.published.load_full();
        let listener = |listener: &model::Listener| {
            let (address, tls) = self.acceptor.address(&listener.name).unwrap_or_default();
            let certificates = tls.iter().flat_map(|gate| gate.certificates()).map(certificate_view).collect();
            let certificate_errors = tls.iter().flat_map(|gate| gate.stale()).cloned().collect();
            let acme = tls.as_ref().and_then(|gate| gate.issued()).map(|issued| {
                let Progress { error, next } = issued.progress();
                AcmeView { error, next_order: next }
            });
            ListenerView {
                name: listener.name.clone(),
                address,
                tls: tls.is_some(),
                certificates,
                certificate_errors,
                acme,
                connections: 0,
                tunnels: 0,
            }
        };
        let dropped = self.access_log.dropped();
        StatusView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: snapshot.generation,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            health_score: 100,
            workers: self.workers as u64,
            config_error: self.config_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            rolled_back_to: self.generations.held().and_then(Instead::back_to),
            set_at_run_time: self.generations.held() == Some(Instead::Settings),
            listeners: snapshot.config.listeners.iter().map(listener).collect(),
            standing: None,
            routes: snapshot.config.routes.iter().map(|route| route_view(route, &snapshot.config)).collect(),
            upstreams: snapshot
                .upstreams
                .iter()
                .map(|upstream| upstream_view(upstream, self.failover.fleet(&upstream.settings.name).as_ref()))
                .collect(),
            spool: self.store().map_or_else(SpoolView::default, |store| super::spool::view(&store)),
            failover_journal_failed: self.failover.journal_failed(),
            access_log_dropped: AccessLogDropped { queue_full: dropped.queue_full, write_error: dropped.write_error },
            audit: audit_view(self.audit.standing()),
        }
    }

    fn promises(&self) -> Vec<(Key, model::Sla)> {
        let snapshot = self.published.load();
        let routes = snapshot.config.routes.iter().map(|route| (Key::Route(route.name.as_str().into()), &route.sla));
        let upstreams = snapshot.config.upstreams.iter();
        let upstreams = upstreams.map(|upstream| (Key::Upstream(upstream.name.as_str().into()), &upstream.sla));
        routes.chain(upstreams).filter_map(|(key, sla)| Some((key, sla.clone()?))).collect()
    }

    fn failovers(&self) -> Vec<Failover> {
        self.failover.history()
    }

    fn configuration(&self) -> Present {
        let generation = self.published.load().generation;
        let text = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).text.clone();
        Present { path: self.path.clone(), text, generation }
    }

    fn store(&self) -> Option<Store> {
        // The function of the control plane, not this one.
        Self::store(self)
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(vec!["this process is stopping".to_owned()]);
        }
        let snapshot = self.published.load_full();
        let store = self.store().map(|store| store.stats().failed);
        if let Some(Some(cause)) = store {
            return Err(vec![cause.to_string()]);
        }
        // Where messages can be stored, that is good enough until a master is there.
        let stores = snapshot.config.routes.iter().any(|route| route.delivery != model::Delivery::Inline);
        if (store.is_some() && stores)
            || snapshot.masters().any(|(upstream, _, master)| upstream.standing_of(master).tier() != Tier::Out)
        {
            return Ok(());
        }
        let reason = |upstream: &model::Upstream| format!("no master of upstream {} can be used", upstream.name);
        Err(snapshot.config.upstreams.iter().map(reason).collect())
    }
}

fn audit_view(standing: Standing) -> AuditView {
    let Standing { newest, lost, error, damage } = standing;
    AuditView { records: newest.map_or(0, |(seq, _)| seq), lost, error, damage }
}

fn certificate_view(facts: Facts) -> CertificateView {
    CertificateView { name: facts.title().to_owned(), expires: facts.not_after, names: facts.dns_names }
}

fn route_view(route: &model::Route, config: &model::Config) -> RouteView {
    RouteView {
        name: route.name.clone(),
        upstreams: route
            .to
            .upstreams()
            .filter_map(|index| config.upstreams.get(index))
            .map(|upstream| upstream.name.clone())
            .collect(),
        delivery: match route.delivery {
            model::Delivery::Inline => "inline",
            model::Delivery::InlineThenSpool { .. } => "inline-then-spool",
            model::Delivery::Spool => "spool",
        }
        .to_owned(),
        standing: None,
    }
}

fn upstream_view(upstream: &Upstream, fleet: Option<&FleetView>) -> UpstreamView {
    let masters = upstream.settings.masters.iter().zip(&upstream.masters).enumerate();
    let master = |(position, (settings, master)): (usize, (&model::Master, &Arc<Master>))| MasterView {
        recovery: fleet.and_then(|fleet| Some((*fleet.members.get(position)?).into())),
        ..master_view(settings, master)
    };
    let mode = upstream.settings.failover.as_ref().map(|failover| failover.mode.name());
    UpstreamView {
        name: upstream.settings.name.clone(),
        strategy: upstream.settings.strategy.name().to_owned(),
        active: fleet.and_then(active_everywhere),
        epoch: fleet.map_or(0, |fleet| fleet.epoch),
        standing: None,
        failover: mode.zip(fleet).map(|(mode, fleet)| FailoverStatus::new(mode, fleet)),
        masters: masters.map(master).collect(),
    }
}

/// The master that owns everything, if one does.
fn active_everywhere(fleet: &FleetView) -> Option<String> {
    let mut owners = fleet.groups.iter().map(|group| &group.active);
    let first = owners.next()?;
    if owners.all(|owner| owner == first) { first.clone() } else { None }
}

fn master_view(settings: &model::Master, master: &Master) -> MasterView {
    let admission = master.admission();
    let mut view = MasterView::new(&settings.name, &settings.address.to_string(), admission);
    view.resolved = match settings.address {
        model::Address::Name { .. } => master.addresses().iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    view.usable = admission.tier() == Tier::Full;
    view.priority = settings.priority;
    view.weight = settings.weight;
    view.in_flight = u64::from(master.permits().in_flight());
    view.queued = u64::from(master.permits().queued());
    view.pending = master.stored();
    view
}
