//! What operators do to the running proxy.

use tokio::sync::oneshot;

use super::Control;
use crate::admin::config::{self, Applied, Order};
use crate::admin::view::OperatorState;
use crate::admin::{NoSuchMaster, Operations};
use crate::failover::orchestrator::{Done, Refused, Request};

impl Operations for Control {
    fn set_operator_state(
        &self,
        upstream: &str,
        master: &str,
        state: OperatorState,
    ) -> Result<OperatorState, NoSuchMaster> {
        let snapshot = self.published.load();
        let found = snapshot.upstreams.iter().find(|known| known.settings.name == upstream);
        let found = found.ok_or_else(|| NoSuchMaster::Upstream(upstream.to_owned()))?;
        let position = found.settings.masters.iter().position(|known| known.name == master);
        let master = position
            .and_then(|position| found.masters.get(position))
            .ok_or_else(|| NoSuchMaster::Master { upstream: upstream.to_owned(), master: master.to_owned() })?;
        // Read by itself: of two who set it at once each may be told the state before both.
        let before = master.admission().operator();
        master.set_operator(state.into());
        self.failover.nudge();
        Ok(before.into())
    }

    fn configure(&self, order: Order) -> oneshot::Receiver<Result<Applied, config::Refused>> {
        let (reply, answer) = oneshot::channel();
        // Where too many wait already, dropping the reply says so.
        let _ = self.orders.try_send((order, reply));
        answer
    }

    fn failover(&self, request: Request) -> oneshot::Receiver<Result<Done, Refused>> {
        if self.published.load().upstreams.iter().any(|known| known.settings.name == request.upstream) {
            return self.failover.ask(request);
        }
        let (reply, answer) = oneshot::channel();
        let _ = reply.send(Err(Refused::NoUpstream));
        answer
    }
}
