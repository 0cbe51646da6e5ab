//! What two processes make of one directory, as two stores.

use tempfile::TempDir;

use super::*;

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
    one.writing(LOCK_PATIENCE, |writing| writing.grow()).expect("the disk works");
    assert_eq!(other.index().buckets(), one.index().buckets());
    assert_eq!(other.tail(), one.tail());
    other.forget(&[8; 32]).expect("the disk works");
    assert_eq!(other.tail(), one.tail());
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
    assert!(one.writing(LOCK_PATIENCE, |writing| writing.grow()).is_err());
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
