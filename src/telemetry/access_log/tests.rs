use super::*;
use std::time::Instant;

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("baton-access-log-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(id: &str) -> Entry<'_> {
    Entry {
        unix_millis: 0,
        request_id: id.as_bytes(),
        client: None,
        method: b"GET",
        host: b"h",
        path: b"/",
        protocol: "http/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 0,
        duration_micros: 0,
        route: None,
        upstream: None,
        master: None,
        attempts: 1,
        end: "complete",
    }
}

/// Ids of the lines in a file; every line must be whole.
fn ids(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        line["request_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "still not true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_line_of_every_worker_is_in_the_file_in_its_workers_order() {
    let directory = Directory::new("workers");
    let path = directory.file("access.log");
    let log = AccessLog::open(&model::AccessLog::File(path.clone())).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let end = log.worker();
            scope.spawn(move || {
                for n in 0..1000 {
                    end.write(&entry(&format!("{worker}-{n:04}")));
                }
                end.flush();
            });
        }
    });
    assert_eq!(log.dropped(), Dropped { queue_full: 0, write_error: 0 });
    assert!(log.close(Duration::from_secs(20)));
    let ids = ids(&path);
    assert_eq!(ids.len(), 3000);
    for worker in 0..3 {
        let own: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{worker}-"))).collect();
        assert!(own.len() == 1000 && own.is_sorted());
    }
}

#[test]
fn after_rotation_lines_go_to_a_new_file_and_none_is_lost() {
    let directory = Directory::new("rotation");
    let (path, moved) = (directory.file("access.log"), directory.file("access.log.1"));
    let log = AccessLog::open(&model::AccessLog::File(path.clone())).unwrap();
    let worker = log.worker();
    worker.write(&entry("before"));
    worker.flush();
    wait_until("the first line is written", || !ids(&path).is_empty());
    std::fs::rename(&path, &moved).unwrap();
    log.reopen().unwrap();
    // Whatever was queued before the writer noticed would be in the old file.
    wait_until("the new file is taken up", || lock(&log.shared.next).is_none());
    wait_until("lines reach the new file", || {
        worker.write(&entry("after"));
        worker.flush();
        !ids(&path).is_empty()
    });
    assert!(log.close(Duration::from_secs(20)));
    let old = ids(&moved);
    assert_eq!(old[0], "before");
    assert!(old[1..].iter().chain(&ids(&path)).all(|id| id == "after"));
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_the_old_one_stays_in_use() {
    let directory = Directory::new("refused");
    let path = directory.file("access.log");
    let missing = directory.file("no/such/directory/access.log");
    let log = AccessLog::open(&model::AccessLog::File(path.clone())).unwrap();
    let error = log.reconfigure(&model::AccessLog::File(missing.clone())).unwrap_err();
    assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
    log.reopen().unwrap();
    let worker = log.worker();
    worker.write(&entry("kept"));
    worker.flush();
    assert!(log.close(Duration::from_secs(20)));
    assert_eq!(ids(&path), ["kept"]);
}

#[test]
fn a_log_that_is_off_formats_nothing_until_it_is_switched_on() {
    let directory = Directory::new("off");
    let path = directory.file("access.log");
    let log = AccessLog::open(&model::AccessLog::Off).unwrap();
    let worker = log.worker();
    worker.write(&entry("off"));
    assert!(worker.batch.borrow().bytes.is_empty());
    log.reconfigure(&model::AccessLog::File(path.clone())).unwrap();
    worker.write(&entry("on"));
    worker.flush();
    assert!(log.close(Duration::from_secs(20)));
    assert_eq!(ids(&path), ["on"]);
}

#[test]
fn what_is_queued_when_the_log_is_switched_off_is_still_written() {
    let directory = Directory::new("change");
    let path = directory.file("access.log");
    let log = AccessLog::open(&model::AccessLog::File(path.clone())).unwrap();
    let worker = log.worker();
    for n in 0..20 {
        worker.write(&entry(&n.to_string()));
        worker.flush();
    }
    log.reconfigure(&model::AccessLog::Off).unwrap();
    assert!(log.close(Duration::from_secs(20)));
    assert_eq!(ids(&path).len(), 20);
}

#[test]
fn a_writer_that_is_stuck_costs_lines_and_not_time() {
    let (reader, pipe) = io::pipe().unwrap();
    let log = AccessLog::start(Target::Open(std::os::fd::OwnedFd::from(pipe).into()), None).unwrap();
    let worker = log.worker();
    let mut line = Vec::new();
    entry::format(&mut line, &entry("x"));
    // What the queue, the writer, the worker and the pipe (64 KiB) can hold, and as much again.
    let held = ((QUEUE_BATCHES + 2) * BATCH_BYTES + 64 * 1024) / line.len();
    for _ in 0..2 * held {
        worker.write(&entry("x"));
    }
    let dropped = log.dropped().queue_full;
    assert!(dropped as usize >= held - BATCH_BYTES / line.len(), "{dropped} dropped of {}", 2 * held);
    assert!(worker.batch.borrow().bytes.len() < BATCH_BYTES);
    assert!(!log.close(Duration::from_millis(10)), "a stuck target is given up");
    drop(reader);
}

#[test]
fn a_full_disk_is_counted() {
    let log = AccessLog::open(&model::AccessLog::File("/dev/full".into())).unwrap();
    let worker = log.worker();
    for _ in 0..3 {
        worker.write(&entry("x"));
    }
    worker.flush();
    wait_until("the lost lines are counted", || log.dropped().write_error == 3);
    assert_eq!(log.dropped().queue_full, 0);
}
