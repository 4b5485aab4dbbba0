//! A set of members on the stack.

use super::MAX_MEMBERS;

const BITS: usize = u64::BITS as usize;

/// Members by index.
#[derive(Debug, Clone, Default)]
pub struct Set {
    words: [u64; MAX_MEMBERS / BITS],
    len: usize,
}

impl Set {
    pub fn new() -> Self {
        Self { words: [0; MAX_MEMBERS / BITS], len: 0 }
    }

    /// Those of the first `members` that `belongs` accepts; asks once for each.
    pub fn of(members: usize, belongs: impl Fn(usize) -> bool) -> Self {
        let mut set = Self::new();
        (0..members).filter(|i| belongs(*i)).for_each(|i| set.insert(i));
        set
    }

    /// Adds a member that is not in the set yet.
    pub fn insert(&mut self, i: usize) {
        self.words[i / BITS] |= 1 << (i % BITS);
        self.len += 1;
    }

    pub fn contains(&self, i: usize) -> bool {
        self.words[i / BITS] >> (i % BITS) & 1 == 1
    }

    pub fn clear(&mut self) {
        self.words = [0; MAX_MEMBERS / BITS];
        self.len = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The member with `rank` smaller ones in the set.
    pub fn nth(&self, mut rank: usize) -> Option<usize> {
        for (w, word) in self.words.iter().enumerate() {
            let here = word.count_ones() as usize;
            if rank < here {
                let mut word = *word;
                for _ in 0..rank {
                    word &= word - 1;
                }
                return Some(w * BITS + word.trailing_zeros() as usize);
            }
            rank -= here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_member_is_the_one_with_n_smaller_ones() {
        let members = [0, 1, 63, 64, 200, 1023];
        let set = Set::of(MAX_MEMBERS, |i| members.contains(&i));
        assert_eq!(set.len(), members.len());
        for (rank, member) in members.into_iter().enumerate() {
            assert_eq!(set.nth(rank), Some(member));
        }
        assert_eq!(set.nth(members.len()), None);
    }
}
