//! Values in one vector, named by their position; places that became free are taken again.

/// No value's position.
pub(super) const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }

    /// How many values are in it.
    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// How many positions there are, free ones included.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(NIL)
    }

    /// Puts a value in. `None` when all positions are taken, which is at four thousand million.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(position) = self.free.pop() {
            self.values[position as usize] = value;
            return Some(position);
        }
        let position = u32::try_from(self.values.len()).ok().filter(|position| *position != NIL)?;
        self.values.push(value);
        Some(position)
    }

    /// Frees a position. What was a large slab gives its memory back when the last value leaves.
    pub(super) fn remove(&mut self, position: u32) {
        self.free.push(position);
        if self.free.len() == self.values.len() {
            *self = Self::new();
        }
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, position: u32) -> &T {
        &self.values[position as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, position: u32) -> &mut T {
        &mut self.values[position as usize]
    }
}
