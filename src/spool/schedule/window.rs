//! How many deliveries of an upstream may be in flight together.
//!
//! Masters that come back to a backlog would be given all of it at once. So the window begins at one for each usable master,
//! grows by one with each delivery that succeeds, which doubles it about once in a master's answering time, and halves
//! with each that fails (the additive increase and multiplicative decrease of TCP's slow start).

#[derive(Debug)]
pub(super) struct Window {
    usable: u32,
    limit: u32,
    per_master: u32,
    in_flight: u32,
}

impl Window {
    pub(super) fn new(per_master: u32) -> Self {
        Self { usable: 0, limit: 0, per_master: per_master.max(1), in_flight: 0 }
    }

    pub(super) fn configure(&mut self, per_master: u32) {
        self.per_master = per_master.max(1);
        self.bound();
    }

    /// So many masters are usable now.
    pub(super) fn usable(&mut self, masters: u32) {
        if self.usable == 0 {
            self.limit = masters;
        }
        self.usable = masters;
        self.bound();
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.limit
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn begin(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn succeeded(&mut self) {
        self.limit = self.limit.saturating_add(1);
        self.bound();
    }

    pub(super) fn failed(&mut self) {
        self.limit /= 2;
        self.bound();
    }

    fn bound(&mut self) {
        self.limit = self.limit.clamp(self.usable, self.usable.saturating_mul(self.per_master));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(masters: u32) -> Window {
        let mut window = Window::new(32);
        window.usable(masters);
        window
    }

    #[test]
    fn nothing_goes_while_no_master_is_usable() {
        let mut window = window(0);
        window.succeeded();
        assert!(!window.has_room());
    }

    #[test]
    fn masters_that_are_back_get_one_each_and_more_with_every_success() {
        let mut window = window(3);
        assert_eq!(window.limit(), 3);
        window.succeeded();
        assert_eq!(window.limit(), 4);
        (0..1000).for_each(|_| window.succeeded());
        assert_eq!(window.limit(), 96);
    }

    #[test]
    fn a_failure_halves_it_and_one_for_each_master_is_left() {
        let mut window = window(2);
        (0..30).for_each(|_| window.succeeded());
        window.failed();
        assert_eq!(window.limit(), 16);
        (0..30).for_each(|_| window.failed());
        assert_eq!(window.limit(), 2);
    }

    #[test]
    fn an_outage_begins_it_anew_and_the_loss_of_one_master_does_not() {
        let mut window = window(2);
        (0..100).for_each(|_| window.succeeded());
        window.usable(1);
        assert_eq!(window.limit(), 32);
        window.usable(0);
        assert_eq!(window.limit(), 0);
        window.usable(2);
        assert_eq!(window.limit(), 2);
    }

    #[test]
    fn room_comes_back_with_each_end() {
        let mut window = window(1);
        window.begin();
        assert!(!window.has_room());
        window.end();
        assert!(window.has_room());
    }
}
