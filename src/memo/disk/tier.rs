//! The disk tier as a pool sees it: look, claim, put, forget.
//!
//! # Between a result and its record
//!
//! A finished result is *pending* until the writer has written it: then it is found here, by its key, so that a call whose
//! result has left the memory meanwhile is not computed twice. A pending result is believed only if nothing was forgotten
//! after its run began, which the index says.
//!
//! # What goes wrong
//!
//! Nothing of the disk fails a task. What can't be read is a miss, what can't be written stays in memory: counted, and
//! told once ([`Event::StoreFailed`]) until it works again.

use std::fmt;
use std::io;
use std::time::Instant;

use super::claims::ClaimToken;
use super::current::{Current, Stores};
use super::functions::Version;
use super::health::Health;
use super::index::{Mark, Position};
use super::outbox::Outbox;
use super::payload::{Meta, Packed, Payload, Sink, unpacked};
use super::put::{Note, Permit, Put, count_spilled};
use super::store::{Hint, Look, Store};
use super::telling::Telling;
use super::unwritten::{By, Unwritten};
use super::writer::Writer;
use crate::config::disk::{Disk, Spill};
use crate::error::Error;
use crate::event::{Event, Listener, Stats, Tally, count, tell};
use crate::memo::codec::Undecodable;
use crate::memo::history::Fate;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// See the [module](self).
pub(crate) struct Tier {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
}

/// What the writer works on, too.
pub(super) struct Shared {
    stores: Stores,
    pub(super) disk: Disk,
    /// What the writer is given, and is found meanwhile.
    pub(super) outbox: Outbox,
    on_event: Option<Listener>,
    pub(super) reads: Health,
    pub(super) writes: Health,
    /// Whether the table of claims can be had, as long as it was not.
    pub(super) claims: Health,
    /// Held while that is tried.
    pub(super) joining: Mutex<()>,
    pub(super) unwritten: Unwritten,
    telling: Telling,
    /// Held while what is written is made safe: who comes meanwhile would find that nothing is left to be done, before it is.
    syncing: Mutex<()>,
    /// The last look found nothing.
    in_vain: AtomicBool,
    /// Where the log ended when this pool came: what it evicts from memory is no newer.
    opened: AtomicU64,
}

/// What a look found.
pub(crate) enum Found<T> {
    Value(T, Meta),
    /// Why not, if that is known.
    Nothing(Option<Fate>),
}

impl Tier {
    /// Opens the directory, or says why it can't be used.
    pub(crate) fn open(disk: Disk, on_event: Option<Listener>, name: &str) -> Result<Arc<Tier>, Error> {
        let store = Store::open(&disk).map_err(|refused| Error::store(refused.to_string()))?;
        let shared = Arc::new(Shared {
            opened: AtomicU64::new(store.first_tail().word()),
            stores: Stores::new(store),
            outbox: Outbox::new(disk.backlog, disk.max_bytes),
            disk,
            on_event,
            reads: Health::default(),
            writes: Health::default(),
            claims: Health::default(),
            joining: Mutex::default(),
            unwritten: Unwritten::default(),
            telling: Telling::default(),
            syncing: Mutex::default(),
            in_vain: AtomicBool::new(false),
        });
        let writer = Writer::new(Arc::clone(&shared), format!("{name}-writer"));
        Ok(Arc::new(Tier { shared, writer }))
    }

    /// The result for a key, decoded where it lies. `decode` runs user code; no lock is held. `hint`: from
    /// [`at_hand`](Self::at_hand), just now. `tally`: of its function, asked for only if its entry is of no use: wrong ones are
    /// counted by whoever finds them first, since nobody else will (`None`: they were). `now`: asked for only if the entry expires.
    pub(crate) fn look<T>(
        &self,
        key: &[u8; 32],
        hint: Option<Hint>,
        tally: impl FnOnce() -> Option<Arc<Tally>>,
        now: impl Fn() -> u64,
        decode: impl FnOnce(&Meta, Payload<'_>) -> Result<T, Undecodable>,
    ) -> Found<T> {
        let store = self.shared.store();
        let pending = self.shared.outbox.get(key);
        if let Some(put) = pending.filter(|put| store.admits(key, &put.function, put.permit.began)) {
            let meta = put.meta();
            let found = match &put.packed {
                Packed::Bytes { bytes, .. } if meta.is_fresh(&now) => unpacked(&meta, bytes, decode),
                _ => return Found::Nothing(None),
            };
            return match found {
                Ok(value) => Found::Value(value, meta),
                Err(_) => Found::Nothing(None),
            };
        }
        match store.look(key, hint, &now, |meta, payload| match payload {
            Payload::Bytes(bytes) => unpacked(meta, bytes, decode),
            stream => decode(meta, stream),
        }) {
            Look::Hit(value, meta) => {
                self.shared.read_works();
                self.shared.looked(false);
                Found::Value(value, meta)
            }
            Look::Miss(fate) => {
                self.shared.looked(true);
                Found::Nothing(fate)
            }
            Look::Corrupt(reason) => {
                if let Some(tally) = tally() {
                    count(&tally.corrupt);
                    self.shared.emit(&Event::Corrupt { function: tally.name, reason: &reason });
                }
                Found::Nothing(Some(Fate::Corrupt))
            }
            Look::Needs(needs) => {
                self.shared.read_works();
                if self.shared.telling.is_news(needs)
                    && let Some(tally) = tally()
                {
                    self.shared.emit(&Event::OtherBuild { function: tally.name, needs: needs.text() });
                }
                Found::Nothing(Some(needs.into()))
            }
            Look::Failed(error) => {
                self.shared.failed(&self.shared.reads, &error);
                Found::Nothing(None)
            }
        }
    }

    /// Where a look would find a short record, as far as can be told without the system.
    pub(crate) fn at_hand(&self, key: &[u8; 32]) -> Option<Hint> {
        self.shared.store().hint(key, AT_HAND)
    }

    /// Whether the last look found nothing: the next may not either.
    pub(crate) fn looks_in_vain(&self) -> bool {
        self.shared.in_vain.load(Ordering::Relaxed)
    }

    /// Whether there is no record of that key, as far as can be told without the system.
    pub(crate) fn lacks(&self, key: &[u8; 32]) -> bool {
        self.shared.store().lacks(key)
    }

    /// A run of that key begins now.
    pub(crate) fn permit(&self, key: [u8; 32]) -> Permit {
        Permit::new(key, self.shared.store().tail())
    }

    /// For a value that leaves the memory: older than anything others have done since this pool came.
    pub(crate) fn permit_evicted(&self, key: [u8; 32]) -> Permit {
        Permit::new(key, self.shared.opened())
    }

    /// Whether a finished result is written at once. With [`Spill::OnEvict`] this is so where something is known of its
    /// key since this pool came: it was forgotten, refreshed or has expired; and where there is a record of it, which can't
    /// have been of use. When it leaves the memory nobody would know that it is newer.
    pub(crate) fn takes(&self, tally: &Tally, key: &[u8; 32], function: &[u8]) -> bool {
        let at_once = match self.shared.disk.spill {
            Spill::OnInsert => true,
            Spill::OnEvict => {
                let store = self.shared.store();
                !store.admits(key, function, self.shared.opened()) || store.knows(key)
            }
        };
        at_once && !tally.unstorable.load(Ordering::Relaxed) && self.shared.tries()
    }

    /// Whether there is a record of that key, or one is on its way from here.
    pub(crate) fn has(&self, key: &[u8; 32]) -> bool {
        self.knows(key) || self.shared.outbox.get(key).is_some()
    }

    /// Whether what leaves the memory is written.
    pub(crate) fn takes_evicted(&self) -> bool {
        self.shared.disk.spill == Spill::OnEvict
    }

    /// Whether this one is: it is not there already, nor on its way, nothing is known that it could be older than, and it is
    /// worth trying.
    pub(crate) fn takes_evicted_of(&self, key: &[u8; 32], function: &[u8]) -> bool {
        let store = self.shared.store();
        let known = store.knows(key) || self.shared.outbox.get(key).is_some();
        !known && store.admits(key, function, self.shared.opened()) && self.shared.tries()
    }

    /// Where a value is encoded.
    pub(crate) fn sink<T>(&self, fill: impl FnOnce(&mut Sink<'_>) -> T) -> (T, io::Result<Packed>, u64) {
        let store = self.shared.store();
        let mut sink = Sink::new(&store, self.shared.disk.compress);
        let filled = fill(&mut sink);
        let written = sink.written();
        (filled, sink.finish(), written)
    }

    /// Tells the listener that a value stays in memory.
    pub(crate) fn not_stored(&self, function: &str, reason: &str) {
        self.shared.emit(&Event::NotStored { function, reason });
    }

    /// Takes note that a value could not be written to a file of its own.
    pub(crate) fn write_failed(&self, error: &io::Error) {
        self.shared.lost(By::Hand, error);
    }

    /// Takes a result to be written. Does not wait, and does not fail. `false`: the pool has ended.
    pub(crate) fn put(&self, put: Put) -> bool {
        if let Packed::Large(_) = put.packed {
            // It is in a file already; all that is left is to give it its name.
            self.shared.write(&[Arc::new(put)], By::Hand);
            self.writer.wrote();
            return true;
        }
        self.writer.put(Arc::new(put))
    }

    /// Waits while more is to be written than the backlog may have, for at most a second.
    pub(crate) fn hold_back(&self) {
        self.writer.hold_back();
    }

    /// Remembers why there is no result of a run with that permit.
    pub(crate) fn note(&self, fate: Fate, permit: &Permit) {
        let mark = match fate {
            Fate::Failed => Mark::Failed,
            Fate::Panicked => Mark::Panicked,
            _ => return,
        };
        self.writer.note(Note { key: permit.key, mark, began: permit.began });
    }

    /// Notes that a version of a function is in use.
    pub(crate) fn note_version(&self, version: Version) {
        self.writer.note_version(version);
    }

    /// Other versions of the function with that digest that have results here, the latest first.
    pub(crate) fn other_versions(&self, family: u64, digest: &[u8; 32]) -> Vec<Version> {
        let versions = self.shared.store().versions().unwrap_or_default();
        let others =
            versions.into_values().filter(|version| version.family == family && version.digest != *digest);
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|version| std::cmp::Reverse(version.used));
        others
    }

    /// Whether a record of that key is there.
    pub(crate) fn knows(&self, key: &[u8; 32]) -> bool {
        self.shared.store().knows(key)
    }

    /// Forgets a key, for every process of the directory.
    pub(crate) fn forget(&self, key: &[u8; 32]) -> Result<(), Error> {
        self.forget_unless(key, || false)
    }

    /// The same, unless that has become needless until nobody else can write.
    pub(crate) fn forget_unless(&self, key: &[u8; 32], needless: impl Fn() -> bool) -> Result<(), Error> {
        if needless() {
            return Ok(());
        }
        self.shared.outbox.forget(key);
        self.told(self.shared.revived().and_then(|store| store.forget_unless(key, needless)))?;
        // What others are at is not to be waited for: it was begun before this, and will be refused.
        if self.shared.disk.single_flight {
            self.shared.with_claims(|claims| claims.break_off(key));
        }
        Ok(())
    }

    /// Forgets everything of a function.
    pub(crate) fn forget_function(&self, owner: [u8; 4]) -> Result<(), Error> {
        self.shared.outbox.forget_function(owner);
        self.told(self.shared.revived().and_then(|store| store.forget_function(owner)))
    }

    /// Forgets everything. Gives where the log ends now.
    pub(crate) fn clear(&self) -> Result<Position, Error> {
        self.shared.outbox.clear();
        self.told(self.shared.revived().and_then(|store| store.clear()))?;
        Ok(self.shared.store().tail())
    }

    /// What was forgotten is to be as safe as what was written; or the caller is told why it could not be forgotten.
    fn told(&self, forgotten: io::Result<()>) -> Result<(), Error> {
        forgotten.map(|()| self.writer.wrote()).map_err(|error| {
            self.shared.write_fails(&error);
            Error::store(error.to_string())
        })
    }

    /// Everything that this pool has in memory is newer than that: what was there when all was forgotten is gone.
    pub(crate) fn opens_anew(&self, cleared: Position) {
        self.shared.opened.store(cleared.word(), Ordering::Relaxed);
    }

    /// Writes what is finished and makes it safe against a power loss.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.writer.flush().map_err(Error::store)
    }

    /// Ends the writer, after it has written everything, and waits for that. `false`: it has not, by `deadline`; or this is its
    /// thread.
    pub(crate) fn close(&self, deadline: Option<Instant>) -> bool {
        self.writer.close(deadline)
    }

    #[cfg(all(test, feature = "testing"))]
    pub(super) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.disk_bytes = self.shared.store().bytes();
        let Shared { reads, writes, claims, .. } = &*self.shared;
        stats.store_errors = reads.errors() + writes.errors() + claims.errors();
    }
}

/// A record of so many bytes is read and decoded in some microseconds, if it is in the page cache.
const AT_HAND: u64 = 4 << 10;

impl Drop for Tier {
    fn drop(&mut self) {
        self.close(None);
    }
}

impl Shared {
    fn opened(&self) -> Position {
        Position::from_word(self.opened.load(Ordering::Relaxed))
    }

    pub(super) fn store(&self) -> Current<'_> {
        self.stores.current()
    }

    /// Remembers whether a look was in vain.
    fn looked(&self, in_vain: bool) {
        // Written only where it changes: all threads read it.
        if self.in_vain.load(Ordering::Relaxed) != in_vain {
            self.in_vain.store(in_vain, Ordering::Relaxed);
        }
    }

    /// Writes a batch and lets go of what came with it, whether it could be written or not.
    pub(super) fn write(&self, puts: &[Arc<Put>], by: By) {
        let written = self.revived().and_then(|store| store.append(puts));
        // Taken out before the first is dropped: so they are fetched from memory side by side.
        let claims: Vec<_> = puts.iter().filter_map(|put| put.permit.take_claim()).collect();
        claims.iter().for_each(ClaimToken::expect);
        drop(claims);
        match written {
            Ok(stored) => {
                count_spilled(stored.iter().map(|at| &*puts[*at]));
                self.write_works(stored.first().map(|at| &puts[*at].permit.key));
            }
            Err(error) => self.lost(by, &error),
        }
    }

    /// Notes why keys have no result. That it could not be noted harms nobody.
    pub(super) fn note(&self, notes: &[Note]) {
        let _ = self.store().note(notes);
    }

    /// Notes that versions of functions are in use.
    pub(super) fn note_versions(&self, versions: &[Version]) {
        let store = self.store();
        for version in versions {
            let _ = store.note_version(version);
        }
    }

    /// The disk did not keep up: a result stays in memory only.
    pub(super) fn dropped(&self, put: &Put) {
        put.permit.release();
        let reason =
            "the disk does not keep up with what is computed; it stays in memory (see `Disk::backlog`)";
        self.unwritten.add(By::Hand, reason);
        self.emit(&Event::NotStored { function: put.tally.name, reason });
    }

    /// Makes what is written safe against a power loss.
    pub(super) fn sync(&self) -> Result<(), String> {
        let syncing = self.syncing.lock();
        let synced = self.revived().and_then(|store| store.sync());
        drop(syncing);
        synced.map_err(|error| {
            self.write_fails(&error);
            error.to_string()
        })
    }

    /// The store; a new one if its directory was deleted.
    pub(super) fn revived(&self) -> io::Result<Current<'_>> {
        let store = self.store();
        if !store.is_deleted() {
            return Ok(store);
        }
        let new = Store::open(&self.disk).map_err(|refused| io::Error::other(refused.to_string()))?;
        Ok(self.stores.replace(new))
    }

    pub(super) fn emit(&self, event: &Event<'_>) {
        tell(self.on_event.as_ref(), event);
    }

    /// Reading or writing failed. The listener is told if all was well so far.
    fn failed(&self, health: &Health, error: &io::Error) {
        health.failed();
        self.say(true, || Some(error.to_string()));
    }

    /// Writing failed.
    pub(super) fn write_fails(&self, error: &io::Error) {
        self.unwritten.trouble(&error.to_string());
        self.failed(&self.writes, error);
    }

    /// Results could not be written.
    fn lost(&self, by: By, error: &io::Error) {
        self.unwritten.add(by, &error.to_string());
        self.write_fails(error);
    }

    /// Whether a result is to be written now. If not, the next flush tells why.
    fn tries(&self) -> bool {
        let willing = self.writes.is_willing();
        if !willing {
            self.unwritten.add_untried();
        }
        willing
    }

    /// Something was read. That says nothing of writing: a full disk is read well.
    fn read_works(&self) {
        if self.reads.works() && self.writes.is_well() {
            self.say(false, || None);
        }
    }

    /// Something was written. If nothing could be read, that is tried, too: perhaps nobody else asks for what is there.
    pub(super) fn write_works(&self, key: Option<&[u8; 32]>) {
        let recovered = self.writes.works();
        if self.reads.is_well() {
            if recovered {
                self.say(false, || None);
            }
        } else if let Some(key) = key.filter(|_| self.reads.is_willing())
            && let Look::Hit(..) = self.store().look(key, None, || 0, |_, _| Ok(()))
        {
            self.read_works();
        }
    }

    /// Tells the listener that the disk failed, or works again, if that is news.
    pub(super) fn say(&self, failed: bool, what: impl FnOnce() -> Option<String>) {
        self.telling.say(failed, what, |next| match next {
            Some(reason) => self.emit(&Event::StoreFailed { reason }),
            None => self.emit(&Event::StoreRecovered),
        });
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tier").field("disk", &self.shared.disk).finish_non_exhaustive()
    }
}
