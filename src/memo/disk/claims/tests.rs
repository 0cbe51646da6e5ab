//! Tests of claims and of the owners they belong to.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use super::*;
use crate::sync::now;
use crate::watchdog::within;

fn key(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

/// A key of the bucket with that number.
fn key_in(bucket: u16, n: u64) -> [u8; 32] {
    let mut key = key(n);
    key[16..18].copy_from_slice(&bucket.to_le_bytes());
    key
}

/// A directory with a claim table.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("owners")).unwrap();
        drop(File::create_new(dir.path().join("claims")).unwrap());
        let home = Home(dir);
        Claims::create(&home.file()).unwrap();
        home
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(self.0.path().join("claims")).unwrap()
    }

    fn owner(&self) -> Claims {
        join(self.0.path())
    }
}

fn join(dir: &Path) -> Claims {
    let file = File::options().read(true).write(true).open(dir.join("claims")).unwrap();
    Claims::open(&file, owners::in_dir(dir.join("owners"))).unwrap()
}

fn ours(claim: Claim) -> ClaimToken {
    match claim {
        Claim::Ours(token) => token,
        other => panic!("{other:?}"),
    }
}

fn held(claim: Claim) -> Holder {
    match claim {
        Claim::Held(holder) => holder,
        other => panic!("{other:?}"),
    }
}

fn in_time(body: impl FnOnce() + Send + 'static) {
    within(Duration::from_secs(60), body);
}

#[test]
fn one_of_two_gets_a_key() {
    // When this fails, two processes compute the same call at once, or nobody can any more.
    let home = Home::new();
    let (a, b) = (home.owner(), home.owner());
    let token = ours(a.claim(&key(1)));
    let holder = held(b.claim(&key(1)));
    assert!(b.still_held(&holder) && b.life(&holder) == Life::Alive && !b.holder_is_waiting(&holder));
    let other = ours(b.claim(&key(2)));
    let nested = a.wait_inside();
    let deeper = a.wait_inside();
    drop(nested);
    assert!(b.holder_is_waiting(&holder));
    drop(deeper);
    assert!(!b.holder_is_waiting(&holder));
    drop(token);
    assert!(!b.still_held(&holder));
    let token = ours(b.claim(&key(1)));
    assert_eq!(held(a.claim(&key(1))).owner, held(a.claim(&key(2))).owner);
    drop((token, other));
    drop(ours(a.claim(&key(1))));
}

#[test]
fn what_one_holds_oneself_is_not_waited_for() {
    // When this fails, a process waits for a claim of its own, for ever.
    let home = Home::new();
    let a = home.owner();
    let token = ours(a.claim(&key(1)));
    assert!(matches!(a.claim(&key(1)), Claim::Full));
    drop(token);
    ours(a.claim(&key(1)));
}

#[test]
fn claims_end_with_their_owner() {
    // When this fails, a key can't be computed any more once a process has died while it computed it.
    let home = Home::new();
    let (a, b) = (home.owner(), home.owner());
    // A token keeps its owner alive; forgotten, both are left behind: here as by a kill, but for the lock.
    let dead = home.owner();
    let number = dead.owners.own();
    let nonce = dead.owners.nonce(number).unwrap();
    for n in 0..100 {
        std::mem::forget(ours(dead.claim(&key(n))));
    }
    let holder = held(a.claim(&key(1)));
    // As the kernel closes it.
    dead.owners.life_file().unlock().unwrap();
    assert!(a.still_held(&holder));
    assert_eq!(a.life(&holder), Life::Dead);
    a.break_dead(&holder);
    assert!(!a.still_held(&holder) && !b.still_held(&holder));
    // Two who found it at the same time: the second hits nobody.
    let token = ours(a.claim(&key(1)));
    b.break_dead(&holder);
    assert!(b.still_held(&held(b.claim(&key(1)))));
    drop(token);
    // All of its claims are free, and its number, with another nonce.
    drop(ours(b.claim(&key(2))));
    let heir = loop {
        let heir = home.owner();
        if heir.owners.own() == number {
            break heir;
        }
        std::mem::forget(heir);
    };
    assert_ne!(heir.owners.nonce(number), Some(nonce));
    a.break_dead(&holder);
    assert!(heir.owners.nonce(number).is_some());
    // What it left behind was cleared away.
    let left = heir.owners.map().words()[TABLE..].iter().filter(|word| {
        let word = word.load(Ordering::Relaxed);
        owner_of(word) == Some(number)
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn who_leaves_leaves_nothing() {
    // When this fails, each start of a program takes longer, or sees claims of the run before.
    let home = Home::new();
    let a = home.owner();
    let b = home.owner();
    let (number, token) = (b.owners.own(), ours(b.claim(&key(1))));
    let holder = held(a.claim(&key(1)));
    drop(b);
    assert_eq!(a.life(&holder), Life::Alive);
    drop(token);
    assert!(!a.still_held(&holder));
    assert_eq!(a.life(&holder), Life::Dead);
    assert_eq!(a.owners.nonce(number), None);
    assert_eq!(home.owner().owners.own(), number);
}

#[test]
fn full_bucket_is_told() {
    // When this fails, a claim that finds no room stops or hangs the call, or breaks the claim of another.
    let home = Home::new();
    let (a, b) = (home.owner(), home.owner());
    let mut tokens: Vec<_> = (0..7).map(|n| ours(a.claim(&key_in(5, n)))).collect();
    assert!(matches!(b.claim(&key_in(5, 7)), Claim::Full));
    held(b.claim(&key_in(5, 6)));
    tokens.remove(3);
    let token = ours(b.claim(&key_in(5, 7)));
    assert!(matches!(a.claim(&key_in(5, 3)), Claim::Full));
    drop(token);
    drop(ours(a.claim(&key_in(5, 3))));
}

#[test]
fn dead_make_room() {
    // When this fails, the claims of a killed process keep others from claiming until its number is taken again.
    let home = Home::new();
    let (a, dead) = (home.owner(), home.owner());
    (0..7).for_each(|n| std::mem::forget(ours(dead.claim(&key_in(5, n)))));
    dead.owners.life_file().unlock().unwrap();
    ours(a.claim(&key_in(5, 7)));
    std::mem::forget(dead);
}

#[test]
fn who_cannot_be_asked_is_not_declared_dead() {
    // When this fails, a process that has run out of file handles takes away the claims of living ones.
    let home = Home::new();
    let b = home.owner();
    let dir = owners::in_dir(home.0.path().join("owners"));
    // The first number is that of `b`.
    let left = AtomicU64::new(2);
    let stingy: Opener = Box::new(move |owner| match left.load(Ordering::Relaxed) {
        0 => Err(io::Error::other("no more handles")),
        more => {
            left.store(more - 1, Ordering::Relaxed);
            dir(owner)
        }
    });
    let a = Claims::open(&home.file(), stingy).unwrap();
    let _token = ours(b.claim(&key(1)));
    let holder = held(a.claim(&key(1)));
    assert_eq!(a.life(&holder), Life::Unknown);
    assert!(a.still_held(&holder));
}

#[test]
fn no_more_owners_than_numbers() {
    // When this fails, the 1025th pool on a directory takes the number of another, or does not start.
    let home = Home::new();
    // As if there were three numbers: the files of the others are the same ones.
    let owner = || {
        let open = owners::in_dir(home.0.path().join("owners"));
        Claims::open(&home.file(), Box::new(move |number| open(number % 3)))
    };
    let mut all: Vec<Claims> = (0..3).map(|_| owner().unwrap()).collect();
    let numbers: std::collections::HashSet<u16> = all.iter().map(|claims| claims.owners.own()).collect();
    assert_eq!(numbers.len(), 3);
    assert!(matches!(owner(), Err(Unusable::Io(_))));
    let number = all.remove(1).owners.own();
    assert_eq!(owner().unwrap().owners.own() % 3, number % 3);
}

#[cfg(unix)]
#[test]
fn owners_files_are_private_and_no_links_are_followed() {
    // When this fails, another user can lock an owner's file, or a link in the directory is written through.
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = Home::new();
    let dir = home.0.path().join("owners");
    let open = owners::in_dir(dir.clone());
    let mode = open(3).unwrap().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    symlink(home.0.path().join("elsewhere"), dir.join("4")).unwrap();
    assert!(open(4).is_err());
    assert!(!home.0.path().join("elsewhere").exists());
}

#[test]
fn garbage_reads_as_free() {
    // When this fails, a damaged claim table stops, hangs or kills a program.
    let home = Home::new();
    let (a, b) = (home.owner(), home.owner());
    let map = a.owners.map();
    for round in 0..5 {
        let mut random = blake3::Hasher::new().update(&[round]).finalize_xof();
        let mut bytes = [0; 8];
        for word in &map.words()[HEADER..] {
            random.fill(&mut bytes);
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let tokens: Vec<_> = (0..1000).map(|n| ours(a.claim(&key(n)))).collect();
        for n in 0..1000 {
            let holder = held(b.claim(&key(n)));
            // (That it waits inside may be garbage, too. It only makes waiters impatient.)
            b.holder_is_waiting(&holder);
            assert_eq!((b.still_held(&holder), b.life(&holder)), (true, Life::Alive));
        }
        drop(tokens);
        assert!((0..1000).all(|n| matches!(b.claim(&key(n)), Claim::Ours(_))));
    }
    // Held by a number that nobody has.
    for owner in [OWNERS as u16 - 1, u16::MAX] {
        let holder = Holder { owner, nonce: 77, at: TABLE + 1, word: 1 };
        assert_eq!((b.still_held(&holder), b.life(&holder)), (false, Life::Dead));
        b.break_dead(&holder);
    }
}

#[test]
fn files_that_are_no_claim_table_are_told() {
    // When this fails, a damaged or foreign file is taken for a claim table.
    let home = Home::new();
    let owner = || owners::in_dir(home.0.path().join("owners"));
    for word in [0, 1] {
        let file = home.file();
        let map = Map::open(&file, &file.metadata().unwrap(), WORDS).unwrap();
        map.word(word).fetch_xor(1 << 9, Ordering::Relaxed);
        assert!(matches!(Claims::open(&home.file(), owner()), Err(Unusable::Foreign(_))));
        map.word(word).fetch_xor(1 << 9, Ordering::Relaxed);
    }
    Claims::open(&home.file(), owner()).unwrap();
    for len in [0, 7, 4096, WORDS as u64 * 8 + 8] {
        home.file().set_len(len).unwrap();
        assert!(matches!(Claims::open(&home.file(), owner()), Err(Unusable::Foreign(_))));
    }
    let nowhere = owners::in_dir(home.0.path().join("nowhere"));
    Claims::create(&home.file()).unwrap();
    assert!(matches!(Claims::open(&home.file(), nowhere), Err(Unusable::Io(_))));
}

#[test]
fn never_two_at_once() {
    // When this fails, two processes compute the same call at once, now and then.
    in_time(|| {
        const KEYS: usize = 9; // two more than fit into the bucket
        const ROUNDS: usize = 3_000;
        let home = Arc::new(Home::new());
        let inside: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (claims, inside) = (home.owner(), inside.clone());
                crate::sync::spawn("claims".into(), None, move || {
                    for round in 0..ROUNDS {
                        // Two threads go through the keys the other way round.
                        let n = if thread % 2 == 0 { round % KEYS } else { KEYS - 1 - round % KEYS };
                        match claims.claim(&key_in(5, n as u64)) {
                            Claim::Ours(token) => {
                                assert_eq!(inside[n].fetch_add(1, Ordering::SeqCst), 0);
                                if round % 5 == 0 {
                                    thread::yield_now();
                                }
                                inside[n].fetch_sub(1, Ordering::SeqCst);
                                drop(token);
                            }
                            Claim::Held(holder) => {
                                while claims.still_held(&holder) && round % 3 == 0 {
                                    thread::yield_now();
                                }
                            }
                            Claim::Full => {}
                        }
                    }
                })
                .unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// The variable that makes the test binary the other process: the directory.
const CHILD: &str = "MEMOPOOL_TEST_CLAIMS_IN";
const CHILD_CLAIMS: u64 = 10_000;

#[test]
fn child() {
    // Not a test of its own: what `killed_process_lets_go` starts as another process.
    let Some(dir) = env::var_os(CHILD) else { return };
    let claims = join(&PathBuf::from(dir));
    let tokens: Vec<_> = (0..CHILD_CLAIMS).map(|n| claims.claim(&key(n))).collect();
    let _nested = claims.wait_inside();
    writeln!(io::stdout(), "\nclaimed").unwrap();
    // Until killed, or until the parent is gone.
    let _ = io::stdin().read(&mut [0]);
    drop(tokens);
}

fn start_child(dir: &Path) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::child"), "--nocapture"])
        .env(CHILD, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "claimed"));
    child
}

#[test]
fn killed_process_lets_go() {
    // When this fails, a killed process blocks its keys for all others, for ever.
    in_time(|| {
        let home = Home::new();
        let ours_now = home.owner();
        let mut child = start_child(home.0.path());
        let holder = held(ours_now.claim(&key(17)));
        assert_eq!(ours_now.life(&holder), Life::Alive);
        assert!(ours_now.still_held(&holder) && ours_now.holder_is_waiting(&holder));
        let holds = (0..CHILD_CLAIMS).filter(|n| matches!(ours_now.claim(&key(*n)), Claim::Held(_))).count();
        assert!(holds as u64 >= CHILD_CLAIMS - 5, "{holds}"); // a bucket or two may be full
        child.kill().unwrap();
        child.wait().unwrap();
        // It was seen alive a moment ago, and is not asked again at once.
        while ours_now.life(&holder) != Life::Dead {
            thread::yield_now();
        }
        ours_now.break_dead(&holder);
        for n in 0..CHILD_CLAIMS {
            assert!(!matches!(ours_now.claim(&key(n)), Claim::Held(_)));
        }
    });
}

#[test]
#[ignore = "prints times"]
fn times() {
    // Never fails: prints what a claim costs beside a lock of the kernel.
    let home = Home::new();
    let (a, b) = (home.owner(), home.owner());
    let mut out = io::stderr();
    let mut time = |what: &str, count: u64, run: &mut dyn FnMut(u64)| {
        let start = now();
        (0..count).for_each(run);
        writeln!(out, "{what}: {:.0} ns", start.elapsed().as_nanos() as f64 / count as f64).unwrap();
    };
    let keys: Vec<[u8; 32]> = (0..200_000).map(key).collect();
    let file = File::create(home.0.path().join("lock")).unwrap();
    for outstanding in [0, 10_000, 50_000] {
        let tokens: Vec<_> = (0..outstanding).map(|n| b.claim(&key(1 << 40 | n))).collect();
        let full = tokens.iter().filter(|claim| matches!(claim, Claim::Full)).count();
        time(&format!("claim + release, {outstanding} outstanding, {full} without"), 200_000, &mut |n| {
            drop(a.claim(&keys[n as usize]));
        });
    }
    time("File::lock + unlock", 200_000, &mut |_| {
        file.lock().unwrap();
        file.unlock().unwrap();
    });
    let holder = {
        std::mem::forget(b.claim(&keys[0]));
        held(a.claim(&keys[0]))
    };
    time("still_held", 1_000_000, &mut |_| assert!(a.still_held(&holder)));
    time("life, asked lately", 100_000, &mut |_| _ = a.life(&holder));
    time("life, asked each time", 10_000, &mut |_| _ = a.owners.ask(holder.owner));
    time("open and leave", 200, &mut |_| drop(home.owner()));
    time("free what a dead owner left", 20, &mut |_| free_all(a.owners.map(), holder.owner));
}
