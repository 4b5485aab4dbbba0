//! What of an upstream belongs together, and has one owner at a time: all of it, or where masters name accounts, what has the same
//! masters to choose from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::owner::{BUCKETS, Owner};
use crate::balance::Set;
use crate::balance::accounts::EVERY;

/// The groups of an upstream.
#[derive(Debug)]
pub struct Owners {
    groups: Vec<Group>,
    by_account: HashMap<Box<str>, usize>,
    /// Where accounts belong that nobody names.
    rest: Option<usize>,
}

/// What belongs together.
#[derive(Debug)]
pub struct Group {
    /// The first of its accounts; `*` for those that nobody names, empty where accounts are not told apart.
    pub name: Box<str>,
    pub accounts: Vec<Box<str>>,
    /// Positions of those that may own it.
    pub members: Vec<usize>,
    pub owner: Arc<Owner>,
}

impl Owners {
    /// Of the accounts that each master names, in their order. Groups that were there `before` by the same name keep their owner.
    #[must_use]
    pub fn new<'a>(masters: impl Iterator<Item = &'a [String]>, before: Option<&Self>) -> Self {
        let masters: Vec<&[String]> = masters.collect();
        let owner = |name: &str| {
            let known = before.and_then(|before| before.groups.iter().find(|group| &*group.name == name));
            known.map_or_else(|| Arc::new(Owner::new(BUCKETS)), |group| group.owner.clone())
        };
        if masters.iter().all(|names| names.is_empty()) {
            let members = (0..masters.len()).collect();
            let all = Group { name: "".into(), accounts: Vec::new(), members, owner: owner("") };
            return Self { groups: vec![all], by_account: HashMap::new(), rest: Some(0) };
        }
        let is_shared = |position: &usize| masters[*position].iter().any(|name| name == EVERY);
        let shared: Vec<usize> = (0..masters.len()).filter(is_shared).collect();
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for position in (0..masters.len()).filter(|position| !shared.contains(position)) {
            for name in masters[position] {
                by_name.entry(name).or_insert_with(|| shared.clone()).push(position);
            }
        }
        let mut classes: BTreeMap<Vec<usize>, Vec<Box<str>>> = BTreeMap::new();
        for (name, mut members) in by_name {
            members.sort_unstable();
            members.dedup();
            classes.entry(members).or_default().push(name.into());
        }
        let mut groups: Vec<Group> = classes
            .into_iter()
            .filter_map(|(members, accounts)| {
                let name = accounts.first()?.clone();
                Some(Group { owner: owner(&name), name, accounts, members })
            })
            .collect();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        let rest = (!shared.is_empty()).then(|| {
            let accounts = vec![EVERY.into()];
            groups.push(Group { name: EVERY.into(), accounts, members: shared, owner: owner(EVERY) });
            groups.len() - 1
        });
        let of_group = |(number, group): (usize, &Group)| {
            group.accounts.iter().map(move |account| (account.clone(), number)).collect::<Vec<_>>()
        };
        let by_account = groups.iter().enumerate().flat_map(of_group).collect();
        Self { groups, by_account, rest }
    }

    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of an account; `None` where no master serves it.
    #[must_use]
    pub fn of(&self, account: &str) -> Option<&Group> {
        self.groups.get(*self.by_account.get(account).or(self.rest.as_ref())?)
    }

    /// The owner of everything, where there is one group.
    #[must_use]
    pub fn sole(&self) -> Option<&Arc<Owner>> {
        match &self.groups[..] {
            [all] => Some(&all.owner),
            _ => None,
        }
    }
}

impl Group {
    /// Its members as a set.
    #[must_use]
    pub fn set(&self, masters: usize) -> Set {
        Set::of(masters, |position| self.members.contains(&position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(masters: &[&[&str]], before: Option<&Owners>) -> Owners {
        let masters: Vec<Vec<String>> =
            masters.iter().map(|names| names.iter().map(|name| (*name).to_owned()).collect()).collect();
        Owners::new(masters.iter().map(Vec::as_slice), before)
    }

    fn groups(owners: &Owners) -> Vec<(&str, &[usize])> {
        owners.groups().iter().map(|group| (&*group.name, &group.members[..])).collect()
    }

    #[test]
    fn without_accounts_everything_has_one_owner() {
        let owners = owners(&[&[], &[]], None);
        assert_eq!(groups(&owners), [("", &[0, 1][..])]);
        assert!(owners.sole().is_some() && owners.of("any").is_some());
    }

    #[test]
    fn accounts_with_the_same_masters_belong_together() {
        let owners = owners(&[&["b", "a"], &["c"], &["a", "b", "c"]], None);
        assert_eq!(groups(&owners), [("a", &[0, 2][..]), ("c", &[1, 2][..])]);
        let name = |account| owners.of(account).map(|group| &*group.name);
        assert_eq!((name("b"), name("c"), name("d")), (Some("a"), Some("c"), None));
        assert!(owners.sole().is_none());
    }

    #[test]
    fn who_serves_every_account_stands_by_for_all_and_owns_the_rest() {
        let owners = owners(&[&["a"], &["*"], &["b"]], None);
        assert_eq!(groups(&owners), [("a", &[0, 1][..]), ("b", &[1, 2][..]), ("*", &[1][..])]);
        assert_eq!(owners.of("unheard of").map(|group| &*group.name), Some("*"));
    }

    #[test]
    fn a_group_of_the_same_name_keeps_its_owner() {
        let before = owners(&[&["a"], &["b"]], None);
        let after = owners(&[&["a", "c"], &["d"]], Some(&before));
        assert!(Arc::ptr_eq(&before.groups()[0].owner, &after.groups()[0].owner));
        assert_eq!(groups(&after), [("a", &[0][..]), ("d", &[1][..])]);
    }
}
