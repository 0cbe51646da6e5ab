//! What waits, for whom, and until when.

use super::*;
use crate::event::Tally;
use crate::memo::disk::index::Position;
use crate::memo::disk::put::Permit;
use crate::sync::spawn;
use crate::watchdog::within;

const FOREVER: Duration = Duration::from_secs(3600);
const TIME: Duration = Duration::from_secs(60);

fn put(n: u8) -> Arc<Put> {
    let permit = Permit::new([n; 32], Position::NONE);
    Arc::new(Put::of(n, permit, Arc::new(Tally::new("test"))))
}

fn outbox() -> Outbox {
    Outbox::new(1 << 20, 1 << 30)
}

/// Which of these results are found.
fn found(outbox: &Outbox, keys: std::ops::Range<u8>) -> Vec<u8> {
    keys.filter(|n| outbox.get(&[*n; 32]).is_some_and(|put| put.permit.key == [*n; 32])).collect()
}

#[test]
fn a_result_is_found_until_it_is_written() {
    // What has left the memory and is not on the disk yet is computed a second time; or found for ever, and its memory lost.
    within(TIME, || {
        let outbox = outbox();
        assert!(outbox.put(put(1)).is_ok() && outbox.put(put(2)).is_ok());
        let load = outbox.next(None, None).expect("two wait");
        assert_eq!(load.puts.len(), 2);
        assert!(outbox.put(put(3)).is_ok());
        assert_eq!(found(&outbox, 0..5), [1, 2, 3], "whether written or waiting");
        outbox.forget(&[1; 32]);
        assert_eq!(found(&outbox, 0..5), [2, 3]);
        outbox.wrote(load);
        assert_eq!(found(&outbox, 0..5), [3]);
        outbox.forget_function([3; 4]);
        assert!(found(&outbox, 0..5).is_empty());
        let load = outbox.next(None, None).expect("it is written all the same, and refused");
        outbox.wrote(load);
        assert_eq!((outbox.count.load(Ordering::Relaxed), outbox.bytes.load(Ordering::Relaxed)), (0, 0));
    });
}

#[test]
fn nothing_comes_into_a_flush_behind_it() {
    // A flush tells of what was finished after it began, and whoever flushes for that hears that all is well.
    within(TIME, || {
        let outbox = outbox();
        let (reply, _receive) = crossbeam_channel::bounded(1);
        assert!(outbox.put(put(1)).is_ok());
        assert!(outbox.send(true, |load| load.flushes.push(reply)));
        assert!(outbox.put(put(2)).is_ok());
        let keys = |load: Load| load.puts.iter().map(|put| put.permit.key[0]).collect::<Vec<_>>();
        assert_eq!(keys(outbox.next(None, None).expect("a flush")), [1]);
        assert_eq!(keys(outbox.next(None, None).expect("one behind it")), [2]);
        outbox.close();
        assert!(outbox.put(put(3)).is_err(), "nobody would write it");
        assert!(outbox.next(None, None).is_none());
    });
}

#[test]
fn a_rest_ends_when_somebody_cannot_wait() {
    // A flush waits for the end of a rest that nobody needs, or, where it comes just before the rest, for all of it.
    within(TIME, || {
        let outbox = Arc::new(outbox());
        let flush = || outbox.send(true, |load| load.flushes.push(crossbeam_channel::bounded(1).0));
        assert!(flush());
        assert!(outbox.next(Some(FOREVER), None).is_some());
        let resting = Arc::clone(&outbox);
        let rest = spawn("rest".into(), None, move || drop(resting.next(Some(FOREVER), None)));
        assert!(flush());
        rest.expect("a thread").join().expect("no panic");
        outbox.close();
        assert!(outbox.next(Some(FOREVER), Some(now() + FOREVER)).is_none());
    });
}

#[test]
fn who_is_held_back_goes_on_when_there_is_room() {
    // A worker stands still for a second for each result, or a disk that does not keep up fills the memory.
    within(TIME, || {
        let outbox = Arc::new(Outbox::new(1, 1 << 30));
        assert!(outbox.put(put(1)).is_ok());
        assert!(outbox.put(put(2)).is_err(), "more than twice as much as may");
        let held = Arc::clone(&outbox);
        let worker = spawn("held".into(), None, move || held.hold_back(FOREVER));
        let load = outbox.next(None, None).expect("one waits");
        outbox.wrote(load);
        worker.expect("a thread").join().expect("no panic");
    });
}
