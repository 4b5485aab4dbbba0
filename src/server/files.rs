//! Notices when the configuration file, or a file it names, changes.
//!
//! Folders are watched rather than files: editors and container platforms replace a file, or a link somewhere above it,
//! instead of writing to it. Whether anything has really changed is decided by the configuration's hash.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Quiet time after the first sign of a change: several files are often written together.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// The watched files.
pub struct Files {
    config: PathBuf,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    signs: mpsc::Receiver<()>,
}

impl Files {
    /// Watches the configuration and the files it names. Where that is impossible SIGHUP still works, and the log says so.
    pub fn watch(config: &Path, files: Vec<PathBuf>) -> Self {
        let (sender, signs) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event, too; one sign that has not been taken up is as good as many.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = sender.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "cannot watch files; send SIGHUP after changing the configuration");
        }
        let mut this = Self { config: config.to_owned(), watcher: watcher.ok(), folders: BTreeSet::new(), signs };
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
        while tokio::time::timeout(DEBOUNCE, self.signs.recv()).await.is_ok_and(|sign| sign.is_some()) {}
    }
}
