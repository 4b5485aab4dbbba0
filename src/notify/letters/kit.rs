//! Notices for tests.

use crate::alerts::alert::Alert;
use crate::alerts::notices::kit::{NOW, World, receiver};
use crate::alerts::notices::{Notice, Notices};

/// A notice of one alert whose sentence is this.
pub fn notice(summary: &str) -> Notice {
    let mut notice = Notice::test(alert(summary));
    notice.test = false;
    notice
}

pub fn alert(summary: &str) -> Alert {
    Alert { summary: summary.to_owned(), ..Alert::test("bots", "ann", 1_700_000_000_000) }
}

/// Two alerts of one upstream and more of others, of which some were held back.
pub fn many() -> Notice {
    let mut world = World::default();
    let names: Vec<String> = (0..60).map(|number| format!("u{number:02}")).collect();
    world.look(0, &names.iter().map(|name| (name.as_str(), 50.0)).collect::<Vec<_>>());
    let settings = crate::config::model::Receiver { group_by: Vec::new(), ..receiver("ops") };
    let mut notices = Notices::new(&settings);
    notices.look(NOW, &mut world.book);
    let mut notice = notices.look(NOW + 500, &mut world.book).notice.unwrap();
    (notice.held, notice.full_until) = (7, Some(NOW));
    notice
}
