//! Which masters may take the messages of an account.
//!
//! A bot that gets a message of an account that is not its own answers 200 and drops it, so a message never goes to a
//! master that is not known to serve its account.

use std::collections::HashMap;

use super::set::Set;

/// What a master says to serve every account.
pub const EVERY: &str = "*";

/// The masters of an upstream by account.
#[derive(Debug)]
pub struct Accounts {
    /// With those that serve every account.
    by_name: HashMap<Box<str>, Set>,
    /// Those that serve every account.
    shared: Set,
}

impl Accounts {
    /// Of what each master names, in their order. `None` when nobody names any: then all masters may take everything.
    pub fn new<'a>(masters: impl Iterator<Item = &'a [String]> + Clone) -> Option<Self> {
        if masters.clone().all(<[String]>::is_empty) {
            return None;
        }
        let (mut by_name, mut shared) = (HashMap::<Box<str>, Set>::new(), Set::new());
        for (position, names) in masters.clone().enumerate() {
            if names.iter().any(|name| name == EVERY) {
                shared.insert(position);
            }
        }
        for (position, names) in masters.enumerate().filter(|(position, _)| !shared.contains(*position)) {
            for name in names {
                let set = by_name.entry(name.as_str().into()).or_insert_with(|| shared.clone());
                if !set.contains(position) {
                    set.insert(position);
                }
            }
        }
        Some(Self { by_name, shared })
    }

    /// Those that may take a message of this account.
    #[must_use]
    pub fn of(&self, account: &str) -> &Set {
        self.by_name.get(account).unwrap_or(&self.shared)
    }

    /// Whether some master names it.
    #[must_use]
    pub fn is_known(&self, account: &str) -> bool {
        self.by_name.contains_key(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(masters: &[&[&str]]) -> Option<Accounts> {
        let masters: Vec<Vec<String>> =
            masters.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        Accounts::new(masters.iter().map(Vec::as_slice))
    }

    fn members(set: &Set) -> Vec<usize> {
        (0..8).filter(|i| set.contains(*i)).collect()
    }

    #[test]
    fn an_account_is_served_by_those_that_name_it_and_those_that_serve_every_one() {
        let accounts = accounts(&[&["one"], &["two", "one"], &["*"], &["two"]]).unwrap();
        assert_eq!(members(accounts.of("one")), [0, 1, 2]);
        assert_eq!(members(accounts.of("two")), [1, 2, 3]);
        assert_eq!(members(accounts.of("three")), [2]);
        assert!(accounts.is_known("one") && !accounts.is_known("three"));
    }

    #[test]
    fn nobody_serves_an_account_that_nobody_names() {
        assert_eq!(members(accounts(&[&["one"], &["two"]]).unwrap().of("three")), [0; 0]);
    }

    #[test]
    fn where_no_master_names_an_account_there_is_nothing_to_tell_apart() {
        assert!(accounts(&[&[], &[]]).is_none());
    }

    #[test]
    fn a_master_that_serves_every_account_is_counted_once_whatever_else_it_names() {
        let accounts = accounts(&[&["*", "one"], &["one", "one"]]).unwrap();
        assert_eq!((members(accounts.of("one")), accounts.of("one").len()), (vec![0, 1], 2));
    }
}
