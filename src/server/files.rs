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
    signs: mpsc::Receiver<()>,
}

impl Files {
    /// Watches the configuration and the files it names. Where that is impossible SIGHUP still works, and the log says so.
    pub fn watch(config: &Path, files: Vec<PathBuf>) -> Self {
        let (sender, signs) = mpsc::channel(1);
        let names: Arc<Mutex<FileNames>> = Arc::default();
        let known = names.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // One sign that has not been taken up is as good as many.
            if event.is_ok_and(|event| is_sign(&event, &known.lock().unwrap_or_else(PoisonError::into_inner))) {
                let _ = sender.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files; send SIGHUP after changing the configuration");
        }
        let (config, watcher) = (config.to_owned(), watcher.ok());
        let mut this = Self { config, watcher, folders: BTreeSet::new(), names, signs };
        this.follow(Some(files));
        this
    }

    /// Watches these files besides the configuration from now on; `None` keeps what was.
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
        }
        self.folders = wanted;
    }

    /// Waits for a change and for the quiet after it. Cancel-safe but for the quiet time, which then starts anew with the
    /// next change.
    pub async fn changed(&mut self) {
        if self.signs.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        quiet(&mut self.signs, DEBOUNCE, DEBOUNCE_MAX).await;
    }
}

/// Waits until there was no sign for this long, but not for longer than `most` in all.
async fn quiet(signs: &mut mpsc::Receiver<()>, pause: Duration, most: Duration) {
    let latest = Instant::now() + most;
    while Instant::now() < latest {
        match timeout_at(latest.min(Instant::now() + pause), signs.recv()).await {
            Ok(Some(())) => {}
            Ok(None) | Err(_) => return,
        }
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
    async fn a_folder_that_is_never_quiet_does_not_hold_a_change_up_for_good() {
        let (sender, mut signs) = mpsc::channel(1);
        let busy = async {
            loop {
                let _ = sender.try_send(());
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(10);
        tokio::select! {
            () = quiet(&mut signs, patience, Duration::from_millis(20)) => {}
            () = busy => {}
            () = tokio::time::sleep(patience) => panic!("it waits for quiet"),
        }
    }
}
