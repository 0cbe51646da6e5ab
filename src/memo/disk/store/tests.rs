//! What two processes make of one directory, as two stores.

use tempfile::TempDir;

use super::*;
use crate::event::Tally;
use crate::memo::disk::log::FULL;
use crate::memo::disk::put::{Permit, Put};

fn store(dir: &TempDir) -> Store {
    Store::open(&Disk::new(dir.path().join("cache"))).expect("a directory that can be used")
}

#[test]
fn an_index_that_was_about_to_be_replaced_stays() {
    // A process that was killed while it made the index larger: the others open the index anew at each look, for ever.
    let dir = tempfile::tempdir().expect("room");
    let (killed, other) = (store(&dir), store(&dir));
    killed.index().set_superseded(true);
    drop(killed);
    other.forget(&[7; 32]).expect("the disk works");
    assert!(!other.index().superseded());
    assert!(Arc::ptr_eq(&other.index(), &other.index()));
    assert!(matches!(store(&dir).index().find(&[7; 32]), Found::Gone(Mark::Forgotten, _)));
}

#[test]
fn a_larger_index_is_found_by_all() {
    // Processes go on with the old index, and write where those that have the new one write.
    let dir = tempfile::tempdir().expect("room");
    let (one, other) = (store(&dir), store(&dir));
    other.forget(&[7; 32]).expect("the disk works");
    one.writing(LOCK_PATIENCE, |writing| writing.grow(0)).expect("the disk works");
    assert_eq!(other.index().buckets(), one.index().buckets());
    assert_eq!(other.tail(), one.tail());
    other.forget(&[8; 32]).expect("the disk works");
    assert_eq!(other.tail(), one.tail());
}

#[test]
fn what_is_expected_has_room_at_once() {
    // An import copies the index again and again; or one that says too much fills the directory with an empty one, or fails.
    let dir = tempfile::tempdir().expect("room");
    let store = store(&dir);
    let before = store.index().buckets();
    store.expect(10).expect("there is room");
    assert_eq!(store.index().buckets(), before);
    store.expect(50_000).expect("the disk works");
    assert!(store.index().load_with(50_000) <= FULL);
    assert!(store.index().load_with(150_000) > FULL, "no more than that");
    store.expect(u64::MAX).expect("as many as the bound allows");
    assert!(store.index().len() <= store.max_bytes / 4);
}

#[test]
fn several_that_expect_the_same_grow_the_index_once() {
    // Each of eight threads that import makes the index four times as large as the one before.
    crate::watchdog::within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let stores: Vec<Store> = (0..8).map(|_| store(&dir)).collect();
        let start = std::sync::Barrier::new(stores.len());
        std::thread::scope(|scope| {
            for store in &stores {
                scope.spawn(|| {
                    start.wait();
                    store.expect(20_000).expect("the disk works");
                });
            }
        });
        assert_eq!(stores[0].index().buckets(), 2048);
    });
}

#[test]
#[cfg(feature = "testing")]
fn what_is_given_overrules_what_came_while_it_was_written() {
    // A result that another process computed before, or forgot, while an import was written, is what is found after it.
    crate::watchdog::within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let faults = crate::testing::Faults::new();
        let one = Store::open(&Disk::new(dir.path().join("cache")).faults(&faults)).expect("a directory");
        let other = store(&dir);
        let given = |n, key| put_of(n, key, Position::LAST);
        one.append_given(&[given(1, [9; 32])]).expect("the disk works");
        let mut overruled = 0;
        for n in 0..40 {
            let (key, tail) = ([n; 32], other.tail());
            faults.slow(Duration::from_millis(20));
            std::thread::scope(|scope| {
                let giver = scope.spawn(|| one.append_given(&[given(2, [100 + n; 32]), given(3, key)]));
                while other.tail() == tail {
                    std::thread::yield_now();
                }
                let late = Arc::new(put_of(4, key, tail));
                match n % 2 {
                    0 => other.forget(&key).expect("the disk works"),
                    _ => drop(other.append(&[late]).expect("the disk works")),
                }
                let came_between = !matches!(other.index().find(&[100 + n; 32]), Found::Live { .. });
                overruled += u32::from(came_between);
                giver.join().expect("no panic").expect("the disk works");
                faults.heal();
                if came_between {
                    let Look::Hit(bytes, _) = other.look(&key, None, || 0, bytes) else {
                        panic!("{n} is not there")
                    };
                    assert_eq!(bytes, [3; 3]);
                }
            });
            if overruled > 3 {
                return;
            }
        }
        panic!("nothing came between");
    });
}

/// Three bytes `n` for a key, of a run that began then.
fn put_of(n: u8, key: [u8; 32], began: Position) -> Put {
    let permit = Permit::new(key, began);
    Put::of(n, permit, Arc::new(Tally::new("test")))
}

#[cfg(feature = "testing")]
fn bytes(_: &Meta, payload: Payload<'_>) -> Result<Vec<u8>, Undecodable> {
    match payload {
        Payload::Bytes(bytes) => Ok(bytes.to_vec()),
        _ => Err(Undecodable::TypeChanged),
    }
}

/// Changes a byte of the index file, in that word of its header.
fn damage(store: &Store, word: usize) {
    let path = store.dir.index();
    let mut bytes = std::fs::read(&path).expect("there");
    bytes[word * 8] ^= 1;
    let handle = store.dir.io().open(&path, Access::Write).expect("there");
    store.dir.io().write_all_at(&handle, &bytes[word * 8..][..8], word as u64 * 8).expect("the disk works");
}

#[test]
fn an_index_that_is_made_anew_is_found_by_all() {
    // A process was killed while it moved the tail, or the kernel's name of this run can't be read in a container: who opens
    // makes another index, and what is forgotten in one of the two is found in the other for ever.
    for word in [16, 19] {
        let dir = tempfile::tempdir().expect("room");
        let one = store(&dir);
        one.forget(&[6; 32]).expect("the disk works");
        damage(&one, word);
        let other = store(&dir);
        one.forget(&[7; 32]).expect("the disk works");
        other.forget(&[8; 32]).expect("the disk works");
        for (store, key) in [(&one, 6), (&other, 6), (&one, 8), (&other, 7)] {
            assert!(
                matches!(store.index().find(&[key; 32]), Found::Gone(Mark::Forgotten, _)),
                "{word}, {key}"
            );
        }
        assert_eq!((one.index().id(), one.tail()), (other.index().id(), other.tail()), "{word}");
    }
}

#[test]
fn an_index_made_anew_by_a_process_that_knows_another_name_of_this_run_is_followed() {
    // Two processes, one of which can't read the kernel's name of this run, make the index anew by turns.
    let dir = tempfile::tempdir().expect("room");
    let one = store(&dir);
    one.index().set_boot(1);
    let other = store(&dir);
    other.index().set_boot(2);
    let ids: Vec<u64> = (0..3)
        .flat_map(|n| {
            [&one, &other].map(|store| {
                store.forget(&[n; 32]).expect("the disk works");
                store.index().id()
            })
        })
        .collect();
    assert_eq!(ids, [ids[0]; 6]);
}

#[cfg(feature = "testing")]
#[test]
fn an_index_that_can_not_be_opened_stays() {
    // A process that has too many files open, or no memory left, makes an index of its own.
    use crate::testing::{Faults, Op};
    let dir = tempfile::tempdir().expect("room");
    let one = store(&dir);
    one.forget(&[7; 32]).expect("the disk works");
    let faults = Faults::new();
    // The lock, then the index.
    faults.fail_nth(Op::Open, 2);
    let refused = Store::open(&Disk::new(dir.path().join("cache")).faults(&faults)).expect_err("no index");
    assert!(refused.to_string().contains("v1/index"), "{refused}");
    assert_eq!(one.index().id(), store(&dir).index().id());
}

#[cfg(feature = "testing")]
#[test]
fn an_index_that_can_not_be_replaced_stays() {
    // A full disk at the wrong moment: two processes write to two indices, or a file is left behind.
    use crate::testing::{Faults, Op};
    let dir = tempfile::tempdir().expect("room");
    let faults = Faults::new();
    let one = Store::open(&Disk::new(dir.path().join("cache")).faults(&faults)).expect("a directory");
    let other = store(&dir);
    one.forget(&[7; 32]).expect("the disk works");
    faults.fail_nth(Op::Rename, 1);
    assert!(one.writing(LOCK_PATIENCE, |writing| writing.grow(0)).is_err());
    assert!(!one.index().superseded());
    other.forget(&[8; 32]).expect("the disk works");
    assert_eq!((one.tail(), one.index().buckets()), (other.tail(), other.index().buckets()));
    assert_eq!(std::fs::read_dir(one.dir.tmp_dir()).expect("there").count(), 0);
}

#[test]
fn what_is_reserved_counts_before_it_is_written() {
    // Several processes that write at once fill more of the disk than it was given.
    let dir = tempfile::tempdir().expect("room");
    let store = store(&dir);
    store
        .writing(LOCK_PATIENCE, |writing| {
            let segment = writing.store.segment_bytes;
            writing.reserve(segment / 2)?;
            writing.reserve(segment)?;
            let present = writing.store.segments.ids()?;
            assert_eq!(present.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [segment / 2, 0]);
            Ok(())
        })
        .expect("the disk works");
}

#[test]
fn the_longest_value_has_a_place_in_the_index() {
    // In a very large directory a value is written that can never be found.
    for max_bytes in [1 << 20, 64 << 30, 1 << 40, u64::MAX] {
        let longest = largest(max_bytes);
        assert!(longest <= max_bytes / 2 && record::record_len(longest) < record::MAX_RECORD, "{max_bytes}");
    }
}

/// A result of three bytes, of a run that began then.
fn put(n: u64, began: Position) -> Arc<Put> {
    Arc::new(put_of(3, *blake3::hash(&n.to_le_bytes()).as_bytes(), began))
}

#[test]
fn what_is_refused_in_the_end_was_not_written() {
    // Two processes compute the same call at once, and both count their results as stored.
    let dir = tempfile::tempdir().expect("room");
    let store = store(&dir);
    let began = store.tail();
    assert_eq!(store.append(&[put(1, began), put(1, began), put(2, began)]).expect("the disk works"), [0, 2]);
}

#[cfg(feature = "testing")]
#[test]
fn an_index_that_can_not_grow_is_filled_up() {
    // On a full disk nothing more is stored, though a quarter of the index is free; and nothing when there is room again.
    use crate::testing::{Faults, Op};
    let (dir, faults) = (tempfile::tempdir().expect("room"), Faults::new());
    let store = Store::open(&Disk::new(dir.path().join("cache")).faults(&faults)).expect("a directory");
    faults.fail_every(Op::Rename, 1);
    let write = |from: u64, to: u64| {
        (from..to).all(|n| store.append(&[put(n, store.tail())]).is_ok_and(|written| written == [0]))
    };
    assert!(write(0, 900), "of 1024");
    assert!(!write(900, 1000), "then the user is told");
    faults.heal();
    assert!(write(1000, 2000));
    assert!(store.index().load() < 0.75);
}

#[test]
fn who_finds_damage_does_not_wait_for_who_writes() {
    // A look-up, which promises to take no lock, stands still while another thread writes a batch or waits for a process.
    crate::watchdog::within(Duration::from_secs(60), || {
        let dir = tempfile::tempdir().expect("room");
        let store = store(&dir);
        let _writing = store.lock.lock();
        let place = Place { position: Position::new(1, 0), len: 128 };
        assert!(matches!(store.distrust::<()>(&[1; 32], place, "damaged".into()), Look::Corrupt(_)));
    });
}
