//! Notices when the configuration file, or a file it names, changes.
//!
//! Folders are watched rather than files: editors and container platforms replace a file, or a link somewhere above it,
//! instead of writing to it. Whether anything has really changed is decided by the configuration's hash.
//!
//! Other files live in the same folders, the access log and this program's own log among them. Writing to those is no sign
//! of a change: it would hold up the signs that matter for as long as there is traffic, and a log line about a wrong
//! configuration would be the cause of the next one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Quiet time after a sign of a change: several files are often written together.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// The longest wait for quiet: in a busy folder, such as `/tmp`, it may never come.
const DEBOUNCE_MAX: Duration = Duration::from_secs(2);

/// Names of the watched files, without their folders.
type FileNames = BTreeSet<OsString>;

/// The watched files.
pub struct Files {
    config: PathBuf,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    names: Arc<Mutex<FileNames>>,
    /// What the watcher sends, and what is sent when something may have changed before it was watched.
    sign: mpsc::Sender<()>,
    signs: mpsc::Receiver<()>,
    quiet: Quiet,
}

impl Files {
    /// Watches the configuration and the files it names. Where that is impossible SIGHUP still works, and the log says so.
    pub fn watch(config: &Path, files: Vec<PathBuf>) -> Self {
        let (sender, signs) = mpsc::channel(1);
        let names: Arc<Mutex<FileNames>> = Arc::default();
        let (known, seen) = (names.clone(), sender.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // One sign that has not been taken up is as good as many.
            if event.is_ok_and(|event| is_sign(&event, &known.lock().unwrap_or_else(PoisonError::into_inner))) {
                let _ = seen.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files; send SIGHUP after changing the configuration");
        }
        let (config, watcher) = (config.to_owned(), watcher.ok());
        let mut this = Self {
            config,
            watcher,
            folders: BTreeSet::new(),
            names,
            sign: sender,
            signs,
            quiet: Quiet::new(DEBOUNCE, DEBOUNCE_MAX),
        };
        this.follow(Some(files));
        this
    }

    /// Watches these files besides the configuration from now on; `None` keeps what was. Folders that are new are a sign of a change:
    /// what was written to them between the reading of the files and now has given none.
    pub fn follow(&mut self, files: Option<Vec<PathBuf>>) {
        let (Some(files), Some(watcher)) = (files, &mut self.watcher) else { return };
        let folder = |file: &PathBuf| match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = |file: &PathBuf| file.file_name().map(ToOwned::to_owned);
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) =
            files.iter().chain([&self.config]).filter_map(name).collect();
        let wanted: BTreeSet<PathBuf> = files.iter().chain([&self.config]).map(folder).collect();
        for gone in self.folders.difference(&wanted) {
            // A folder that was removed is not watched any more anyway.
            let _ = watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.folders) {
            if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %new.display(), %error, "cannot watch it; send SIGHUP after changing files there");
            }
            let _ = self.sign.try_send(());
        }
        self.folders = wanted;
    }

    /// Waits for a change and for the quiet after it. Cancel-safe: what was seen is not forgotten, and its time goes on.
    pub async fn changed(&mut self) {
        self.quiet.wait(&mut self.signs).await;
    }
}

/// Waits for a sign, and then until there was none for a while.
struct Quiet {
    pause: Duration,
    most: Duration,
    /// Since a sign was seen: when it is acted upon unless there is another, and when in any case.
    until: Option<(Instant, Instant)>,
}

impl Quiet {
    fn new(pause: Duration, most: Duration) -> Self {
        Self { pause, most, until: None }
    }

    async fn wait(&mut self, signs: &mut mpsc::Receiver<()>) {
        loop {
            let sign = match self.until {
                None => signs.recv().await,
                Some((quiet, latest)) if Instant::now() < latest => {
                    match timeout_at(quiet.min(latest), signs.recv()).await {
                        Ok(sign) => sign,
                        Err(_) => break,
                    }
                }
                Some(_) => break,
            };
            if sign.is_none() {
                return std::future::pending().await;
            }
            let now = Instant::now();
            let latest = self.until.map_or(now + self.most, |(_, latest)| latest);
            self.until = Some((now + self.pause, latest));
        }
        self.until = None;
    }
}

/// Whether a watched file may have changed. What is made, removed or renamed counts under any name: a link to a folder of
/// files can be among it. Reading is an event, too, and none of these.
fn is_sign(event: &Event, names: &FileNames) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            event.paths.iter().any(|path| path.file_name().is_some_and(|name| names.contains(name)))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, CreateKind, DataChange};

    fn sign(kind: EventKind, path: &str) -> bool {
        is_sign(&Event::new(kind).add_path(path.into()), &FileNames::from(["baton.yaml".into()]))
    }

    #[test]
    fn writing_to_a_log_in_the_same_folder_is_no_sign_of_a_change() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(sign(written, "/etc/baton/baton.yaml"));
        assert!(!sign(written, "/etc/baton/access.log"));
        assert!(!sign(EventKind::Access(AccessKind::Any), "/etc/baton/baton.yaml"));
    }

    #[test]
    fn a_link_that_is_put_in_place_of_another_is_a_sign_under_any_name() {
        assert!(sign(EventKind::Create(CreateKind::Any), "/etc/baton/..data"));
    }

    #[tokio::test]
    async fn what_was_written_before_a_folder_was_watched_is_no_less_noticed() {
        let folder = std::env::temp_dir().join(format!("baton-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut files = Files::watch(&folder.join("baton.yaml"), Vec::new());
        let soon = Duration::from_secs(10);
        tokio::time::timeout(soon, files.changed()).await.expect("a sign for the folder of the configuration");
        files.follow(Some(vec![folder.join("certificate.pem")]));
        assert!(files.signs.try_recv().is_err(), "nothing is new in a folder that is watched");
        let _ = std::fs::remove_dir_all(folder);
    }

    #[tokio::test]
    async fn a_folder_that_is_never_quiet_does_not_hold_a_change_up_for_good() {
        let (sender, mut signs) = mpsc::channel(1);
        let busy = async {
            loop {
                let _ = sender.try_send(());
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(10);
        let mut quiet = Quiet::new(patience, Duration::from_millis(20));
        tokio::select! {
            () = quiet.wait(&mut signs) => {}
            () = busy => {}
            () = tokio::time::sleep(patience) => panic!("it waits for quiet"),
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_and_begun_again_loses_no_sign_and_no_time() {
        let (sender, mut signs) = mpsc::channel(1);
        sender.try_send(()).unwrap();
        let pause = Duration::from_millis(60);
        let (begin, mut quiet) = (Instant::now(), Quiet::new(pause, Duration::from_secs(10)));
        while tokio::time::timeout(Duration::from_millis(7), quiet.wait(&mut signs)).await.is_err() {}
        let took = begin.elapsed();
        assert!(took >= pause && took < Duration::from_secs(5), "{took:?}");
        assert!(tokio::time::timeout(pause * 2, quiet.wait(&mut signs)).await.is_err(), "one sign, one change");
    }
}
