use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("baton-generations-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn generation(number: u64) -> Generation {
    let changes = vec![format!("route a: timeout 1s -> {number}s")];
    Generation {
        number,
        at: number * 1000,
        who: "ann".into(),
        cause: "file".into(),
        reason: "a \"quoted\" one".into(),
        back_to: (number == 3).then_some(1),
        changes,
    }
}

#[test]
fn what_is_kept_is_there_after_a_restart_and_numbers_go_on() {
    let directory = Directory::new("restart");
    let kept = Generations::open(&directory.0);
    assert_eq!(kept.first("one"), (1, true));
    (1..=3).for_each(|number| kept.keep(generation(number), &format!("text {number}")));
    let again = Generations::open(&directory.0);
    assert_eq!(again.list(), kept.list());
    assert_eq!(again.list().iter().map(|it| it.number).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(again.get(2).unwrap(), Some((generation(2), "text 2".to_owned())));
    assert_eq!(again.get(9).unwrap(), None);
    assert_eq!(again.first("text 3"), (3, false));
    assert_eq!(again.first("text 2"), (4, true));
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let directory = Directory::new("many");
    let kept = Generations::open(&directory.0);
    let last = KEPT_MAX as u64 + 3;
    (1..=last).for_each(|number| kept.keep(generation(number), "text"));
    assert_eq!(kept.list().len(), KEPT_MAX);
    assert_eq!(kept.list().last().map(|it| it.number), Some(4));
    assert_eq!(Generations::open(&directory.0).list(), kept.list());
}

#[test]
fn what_is_held_is_used_until_the_file_says_something_else() {
    let directory = Directory::new("held");
    let kept = Generations::open(&directory.0);
    kept.hold(Instead::Generation(1), "the first", "the bad one").unwrap();
    let again = Generations::open(&directory.0);
    assert_eq!(again.instead_of("the bad one"), Some(("the first".to_owned(), Instead::Generation(1))));
    assert_eq!(again.instead_of("a better one"), None);
    assert_eq!(again.held(), Some(Instead::Generation(1)));
    assert!(again.holds(Instead::Generation(1), "the first") && !again.holds(Instead::Settings, "the first"));
    again.hold(Instead::Settings, "with more weight", "the bad one").unwrap();
    let again = Generations::open(&directory.0);
    assert_eq!(again.instead_of("the bad one"), Some(("with more weight".to_owned(), Instead::Settings)));
    again.let_go();
    assert_eq!(Generations::open(&directory.0).instead_of("the bad one"), None);
}

#[test]
fn nobody_else_reads_them_and_what_is_no_generation_is_left_out() {
    let directory = Directory::new("files");
    let kept = Generations::open(&directory.0);
    kept.keep(generation(1), "secret");
    let folder = directory.0.join("generations");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("1.json"))), (0o700, 0o600));
    std::fs::write(folder.join("2.json"), "{").unwrap();
    std::fs::copy(folder.join("1.json"), folder.join("7.json")).unwrap();
    std::fs::write(folder.join("held.json"), "nonsense").unwrap();
    let again = Generations::open(&directory.0);
    assert_eq!(again.list(), kept.list());
    assert_eq!(again.held(), None);
}
