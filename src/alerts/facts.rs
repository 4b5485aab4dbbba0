//! What rules compare: the value of each signal, for each thing that has it.

use std::collections::HashMap;

use super::subject::Subject;
use crate::config::model::{Scope, Signal};

/// One moment.
#[derive(Debug, Default)]
pub struct Facts(HashMap<(Signal, Scope), Vec<Fact>>);

/// A value of something.
#[derive(Debug)]
pub struct Fact {
    pub subject: Subject,
    pub value: f64,
    /// What else is to be said about it; empty for nothing.
    pub cause: String,
}

impl Facts {
    /// Notes a value.
    pub fn put(&mut self, signal: Signal, subject: Subject, value: f64) {
        self.because(signal, subject, value, String::new());
    }

    /// Notes a value and why it is so.
    pub fn because(&mut self, signal: Signal, subject: Subject, value: f64, cause: String) {
        let scope = subject.scope();
        self.0.entry((signal, scope)).or_default().push(Fact { subject, value, cause });
    }

    /// Notes that something is so, or is not.
    pub fn flag(&mut self, signal: Signal, subject: Subject, is: bool) {
        self.put(signal, subject, f64::from(u8::from(is)));
    }

    /// Everything that has a signal in a scope.
    #[must_use]
    pub fn of(&self, signal: Signal, scope: Scope) -> &[Fact] {
        self.0.get(&(signal, scope)).map_or(&[], Vec::as_slice)
    }
}
