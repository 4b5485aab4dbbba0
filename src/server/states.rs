//! What operators have set masters to, kept over a restart: who took a master out of use at night does not find it in use in the morning
//! because Baton was started anew.
//!
//! The monitor looks each second whether something has changed, so a crash may lose what was set within the last one.

use serde::{Deserialize, Serialize};

use crate::monitor::observation::Observation;
use crate::snapshot::Snapshot;
use crate::state_file::StateFile;
use crate::upstream::admission::OperatorState;

/// In the state directory.
const FILE: &str = "operator-states.json";

/// A master that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    upstream: String,
    master: String,
    state: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Drain,
    Maintenance,
}

/// What is on disk.
#[derive(Debug)]
pub struct States {
    file: StateFile,
    kept: Vec<Set>,
}

impl States {
    /// What a process before this one has kept.
    #[must_use]
    pub fn load(snapshot: &Snapshot) -> Self {
        let file = StateFile::new(&snapshot.config.state_path, FILE, "states of masters");
        let kept = file.load();
        Self { file, kept }
    }

    /// Sets masters to what they were set to. Before they are asked for anything.
    pub fn restore(&self, snapshot: &Snapshot) {
        for Set { upstream, master, state } in &self.kept {
            let found = snapshot.upstreams.iter().find(|it| it.settings.name == *upstream);
            let position = found.and_then(|it| it.settings.masters.iter().position(|known| known.name == *master));
            let (Some(found), Some(position)) = (found, position) else { continue };
            let (word, state) = match state {
                Word::Drain => ("drain", OperatorState::Drain),
                Word::Maintenance => ("maintenance", OperatorState::Maintenance),
            };
            tracing::warn!("master {master} of {upstream} is in {word}, as it was before");
            found.masters[position].set_operator(state);
        }
    }

    /// Writes down what has changed. Blocks then.
    pub fn look(&mut self, seen: &Observation) {
        let masters = seen.upstreams.iter().flat_map(|upstream| upstream.masters.iter().map(move |it| (upstream, it)));
        let set = masters.filter_map(|(upstream, master)| {
            let state = match master.admission.operator() {
                OperatorState::Ready => return None,
                OperatorState::Drain => Word::Drain,
                OperatorState::Maintenance => Word::Maintenance,
            };
            Some(Set { upstream: upstream.name.to_string(), master: master.name.to_string(), state })
        });
        let set: Vec<Set> = set.collect();
        if set != self.kept && self.file.keep(&set) {
            self.kept = set;
        }
    }
}
