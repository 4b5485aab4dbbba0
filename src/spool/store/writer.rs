//! The thread that owns the database. It commits what is waiting as one group, and while the disk syncs the next gathers.
//!
//! What fails once has failed for good: after a failed sync nobody knows what of the pages is on disk, and asking again
//! would be told that all is well. So nothing is accepted any more, everybody who waits is told, and what was acknowledged
//! before is found again by the next start.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use redb::Database;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::api::{Event, Refused};
use super::apply::{Changes, Image, Step};
use super::command::{Command, Group, Job};
use super::disk::Disk;
use super::lock::Lock;
use super::seen::Memory;
use super::shared::Shared;
use super::tables::{META, META_CLEAN, META_NEXT_SEQ};
use crate::clock::millis;

/// How often the thread looks at the disk, and for what is due, when there is nothing else to do.
const IDLE: Duration = Duration::from_secs(1);

/// Sequence numbers reserved on disk at once: what a crash skips, and how rarely the reservation is written.
pub const SEQ_BLOCK: u64 = 1 << 20;

/// What readers may take to end when the store is closed.
const READERS: Duration = Duration::from_secs(10);

pub struct Writer {
    pub shared: Arc<Shared>,
    pub commands: Receiver<Command>,
    pub events: UnboundedSender<Event>,
    pub image: Image,
    pub disk: Option<Disk>,
    pub lock: Option<Lock>,
    pub jobs: VecDeque<Job>,
    /// Sequence numbers that are reserved on disk.
    pub seq_limit: u64,
}

impl Writer {
    /// Until the store is closed, or nobody has it any more.
    pub fn run(mut self) {
        let mut group = Group::default();
        loop {
            let at_once = !self.jobs.is_empty() || self.is_due();
            let Some(mut gathered) = group.gather(&self.commands, &mut self.jobs, IDLE, at_once) else {
                return self.close(None, None);
            };
            let close = gathered.close.take();
            if let Some(refused) = self.shared.failed.get().map(|cause| Refused::Failed(Arc::clone(cause))) {
                self.refuse(gathered, &refused);
                if let Some(reply) = close {
                    return self.close(None, Some(reply));
                }
                group = Group::default();
                continue;
            }
            if close.is_some() {
                return self.close(Some(gathered), close);
            }
            self.look_at_disk();
            if !gathered.is_empty() || at_once {
                self.keep_out(&mut gathered);
                self.commit(gathered, false);
                group = Group::default();
            } else {
                group = gathered;
            }
        }
    }

    /// Whether time alone gives something to do.
    fn is_due(&self) -> bool {
        if self.shared.failed.get().is_some() {
            return false;
        }
        let (now, settings) = ((self.shared.clock)(), self.shared.settings.load());
        let memory = Memory { window: millis(settings.dedup_window), max_ids: settings.dedup_max_ids };
        self.image.log.is_due(now, memory) || Step::is_due(&self.image.sums, &settings, now)
    }

    fn commit(&mut self, mut group: Group, last: bool) {
        let Some(database) = self.shared.database.load_full() else { return };
        let mut changes = Changes::default();
        let flushes = std::mem::take(&mut group.flushes);
        let lazy = group.notes.len() + group.rows.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let mut job = self.jobs.pop_front();
        let mut job_is_done = false;
        // A damaged file can make the library panic; that is a failure like any other.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.transact(&database, group, &mut changes, job.as_mut(), last).map(|done| job_is_done = done)
        }));
        let cause = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("its pages contradict each other".to_owned()),
        };
        self.shared.queued_lazy.fetch_sub(lazy, Ordering::AcqRel);
        match cause {
            None => {
                self.publish(changes);
                for flush in flushes {
                    let _ = flush.send(());
                }
                match job {
                    Some(job) if job_is_done => drop(job.reply.send(Ok(job.done))),
                    Some(job) => self.jobs.push_back(job),
                    None => {}
                }
            }
            Some(cause) => {
                let (messages, bytes) = changes.released;
                let refused = self.fail(&cause);
                self.shared.leave(messages, bytes);
                for (reply, _) in changes.answers {
                    let _ = reply.send(Err(refused.clone()));
                }
                self.jobs.extend(job);
                self.refuse(Group::default(), &refused);
            }
        }
    }

    /// Everything of one commit; true when that ended the job.
    fn transact(
        &mut self,
        database: &Database,
        group: Group,
        changes: &mut Changes,
        job: Option<&mut Job>,
        last: bool,
    ) -> Result<bool, redb::Error> {
        let transaction = database.begin_write()?;
        let settings = self.shared.settings.load();
        let mut step = Step {
            transaction: &transaction,
            image: &mut self.image,
            changes,
            seen: &self.shared.seen,
            settings: &settings,
            now: (self.shared.clock)(),
        };
        step.accept(group.batches)?;
        step.settle(group.settlements)?;
        step.quarantine(group.quarantined)?;
        let done = job.map_or(Ok(false), |job| step.work(job))?;
        step.retire()?;
        step.remember(&group.notes)?;
        step.rows(group.rows)?;
        let next_seq = self.shared.next_seq.load(Ordering::Acquire);
        if last {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_NEXT_SEQ, next_seq)?;
            meta.insert(META_CLEAN, 1)?;
        } else if next_seq + SEQ_BLOCK / 2 > self.seq_limit {
            self.seq_limit = next_seq + SEQ_BLOCK;
            transaction.open_table(META)?.insert(META_NEXT_SEQ, self.seq_limit)?;
        }
        transaction.commit()?;
        Ok(done)
    }

    /// Tells everybody what is on disk now.
    fn publish(&mut self, changes: Changes) {
        let Shared { seen, names, totals, .. } = &*self.shared;
        if !changes.names.is_empty() {
            names.write().unwrap_or_else(PoisonError::into_inner).extend(changes.names);
        }
        for id in changes.remembered {
            seen.insert(id);
        }
        for id in changes.forgotten {
            seen.remove(id);
        }
        totals.publish(&self.image.sums, self.image.log.ids());
        totals.commits.fetch_add(1, Ordering::Relaxed);
        let (messages, bytes) = changes.released;
        self.shared.leave(messages, bytes);
        // The dispatcher may be gone.
        if !changes.stored.is_empty() {
            let _ = self.events.send(Event::Stored(changes.stored));
        }
        if !changes.settled.is_empty() {
            let _ = self.events.send(Event::Settled(changes.settled));
        }
        for (reply, answer) in changes.answers {
            // Whoever asked may have left: the message is accepted all the same.
            let _ = reply.send(Ok(answer));
        }
    }

    /// The end of all acceptance.
    fn fail(&mut self, cause: &str) -> Refused {
        let cause = self.shared.fail(&format!(
            "the spool cannot be written: {cause}; nothing is accepted until Baton is started again with a disk that works"
        ));
        tracing::error!("{cause}");
        let _ = self.events.send(Event::Failed(Arc::clone(&cause)));
        Refused::Failed(cause)
    }

    fn refuse(&mut self, group: Group, refused: &Refused) {
        for batch in &group.batches {
            self.shared.leave(batch.messages.len(), batch.bytes);
        }
        group.refuse(refused);
        for job in self.jobs.drain(..) {
            let _ = job.reply.send(Err(refused.clone()));
        }
    }

    /// Refuses new messages where the disk became full after they were let into the queue: a commit that fails for want of room
    /// would be the end of all acceptance.
    fn keep_out(&self, group: &mut Group) {
        if !self.shared.disk_full.load(Ordering::Acquire) {
            return;
        }
        let refused = self.shared.disk_full();
        for batch in group.batches.drain(..) {
            self.shared.leave(batch.messages.len(), batch.bytes);
            let _ = batch.reply.send(Err(refused.clone()));
        }
    }

    /// Before every commit: others can fill a disk in a moment, and the look costs microseconds, the commit a sync.
    fn look_at_disk(&self) {
        let Some(disk) = &self.disk else { return };
        let min_free = self.shared.settings.load().min_free;
        match disk.look(min_free) {
            Ok(room) => {
                let full = room.is_full(self.image.file_needs(), min_free);
                if full != self.shared.disk_full.swap(full, Ordering::AcqRel) {
                    let free = room.free;
                    if full {
                        tracing::warn!(free, min_free, "the disk below state.path is nearly full; nothing is stored");
                    } else {
                        tracing::info!(free, "the disk below state.path has room again");
                    }
                }
                self.shared.disk_bytes.store(room.used, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!("how full the disk below state.path is cannot be seen: {error}"),
        }
    }

    /// Commits what is left, closes the file and lets go of the lock.
    fn close(mut self, rest: Option<Group>, reply: Option<oneshot::Sender<()>>) {
        self.shared.closed.store(true, Ordering::Release);
        if self.shared.failed.get().is_none() {
            self.commit(rest.unwrap_or_default(), true);
        }
        self.refuse(Group::default(), &Refused::Closed);
        if let Some(database) = self.shared.database.swap(None) {
            close_database(database);
        }
        drop(self.lock.take());
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
        // Whoever was too late for the end is told.
        while let Ok(command) = self.commands.try_recv() {
            let mut group = Group::default();
            group.add(command, &mut self.jobs);
            let _ = group.close.take().map(|reply| reply.send(()));
            self.refuse(group, &Refused::Closed);
        }
    }
}

/// Waits for readers, which are quick, and closes. One that is not keeps the file open until it ends.
fn close_database(mut database: Arc<Database>) {
    let begun = Instant::now();
    loop {
        match Arc::try_unwrap(database) {
            Ok(database) => {
                let closed = catch_unwind(AssertUnwindSafe(|| database.close()));
                if let Ok(Err(error)) = closed {
                    tracing::warn!("the spool was not closed in order, the next start repairs it: {error}");
                }
                return;
            }
            Err(shared) => database = shared,
        }
        if begun.elapsed() > READERS {
            tracing::warn!("somebody still reads the spool; it is closed when they end");
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
