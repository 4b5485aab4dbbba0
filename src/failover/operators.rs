//! What operators ask of the thread, and their answers: at once, or when masters' hooks have answered.

use tokio::sync::oneshot;

use super::ask::{Answer, Move};
use super::orchestrator::{Done, Keeper, Moving, Refused, Request};

/// Operators who wait for masters' hooks at once.
const WAITING_MAX: usize = 64;

/// An operator who waits for masters' hooks.
pub(super) struct Waiting {
    upstream: String,
    answer: Answer,
    done: Done,
    reply: oneshot::Sender<Result<Done, Refused>>,
}

impl Keeper {
    pub(super) fn answer(&mut self, request: &Request, reply: oneshot::Sender<Result<Done, Refused>>) {
        match self.begin(request) {
            Ok((number, Some(answer), done)) => {
                let upstream = self.runners[number].name().to_owned();
                let waiting = Waiting { upstream, answer, done, reply };
                // Beyond the bound nobody waits for hooks: the history tells.
                if self.waiting.len() < WAITING_MAX && self.is_handing(&waiting) {
                    self.waiting.push(waiting);
                } else {
                    self.reply(waiting);
                }
            }
            Ok((_, None, done)) => drop(reply.send(Ok(done))),
            Err(refused) => drop(reply.send(Err(refused))),
        }
    }

    /// Does what an operator asks; the answer where it is more than said.
    fn begin(&mut self, request: &Request) -> Result<(usize, Option<Answer>, Done), Refused> {
        if self.released {
            return Err(Refused::Released);
        }
        let number = self.runners.iter().position(|runner| runner.name() == request.upstream);
        let number = number.ok_or(Refused::NoFailover)?;
        let runner = &self.runners[number];
        let view = runner.view();
        let answer = runner.fleet.weigh(&request.ask, &view).map_err(Refused::Refusal)?;
        let mut done = self.describe(number, &answer);
        if request.dry_run {
            return Ok((number, None, done));
        }
        let first = self.runners[number].fleet.epoch() + 1;
        for (moving, epoch) in done.moves.iter_mut().zip(first..) {
            moving.epoch = Some(epoch);
        }
        let acts = self.runners[number].fleet.carry_out(&answer, &request.by, &request.why, &view);
        self.carry_out(number, acts);
        self.sync("what an operator asked for");
        // Whoever is told that it is done sees it done.
        self.show();
        Ok((number, Some(answer), done))
    }

    /// Whether something that was asked for waits for masters or their hooks.
    fn is_handing(&self, waiting: &Waiting) -> bool {
        let Answer::Moves(moves) = &waiting.answer else { return false };
        let runner = self.runners.iter().find(|runner| runner.name() == waiting.upstream);
        runner.is_some_and(|runner| {
            let under_way = |(it, moving): (&Move, &Moving)| runner.fleet.under_way(it.group) == moving.epoch;
            runner.hooks().is_some() && moves.iter().zip(&waiting.done.moves).any(under_way)
        })
    }

    pub(super) fn answer_waiting(&mut self) {
        let (still, ended): (Vec<Waiting>, Vec<Waiting>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| self.is_handing(waiting));
        self.waiting = still;
        for waiting in ended {
            self.reply(waiting);
        }
    }

    fn reply(&self, waiting: Waiting) {
        let Waiting { upstream, answer, mut done, reply } = waiting;
        let runner = self.runners.iter().find(|runner| runner.name() == upstream);
        if let (Answer::Moves(moves), Some(runner)) = (&answer, runner) {
            let fleet = runner.fleet.show(&runner.view());
            for (moving, Move { group, .. }) in done.moves.iter_mut().zip(moves) {
                moving.done = fleet.groups.get(*group).is_some_and(|group| group.active.as_ref() == Some(&moving.to));
            }
        }
        let _ = reply.send(Ok(done));
    }

    fn describe(&self, number: usize, answer: &Answer) -> Done {
        let runner = &self.runners[number];
        let plan = runner.fleet.plan();
        let name = |master: usize| plan.masters[master].name.clone();
        match answer {
            Answer::Moves(moves) => {
                let moving = |it: &Move| Moving {
                    accounts: plan.groups[it.group].accounts.clone(),
                    from: it.from.map(name),
                    to: name(it.to),
                    pins: it.from.map_or(0, |from| runner.pinned_at(from)) as u64,
                    epoch: None,
                    done: false,
                };
                Done { moves: moves.iter().map(moving).collect(), resets: Vec::new() }
            }
            Answer::Resets(masters) => {
                Done { moves: Vec::new(), resets: masters.iter().map(|master| name(*master)).collect() }
            }
        }
    }
}
