//! What no figure says: what each workload is, which peers do the same, what they do better, and why we are not first
//! where we are not.

use crate::peer::Kind;
use crate::report::{Column, Figure, Unit};

pub(crate) const HEAD: &str = "\
# memopool beside its peers

What people would use instead, with the same workloads, in one run. This page is generated; don't edit it:

```sh
python3 -m venv target/peers-venv && target/peers-venv/bin/pip install joblib diskcache   # optional
cargo run --release -p memopool-peers -- --write docs/compare.md
```

Every peer is used as its documentation recommends, in a file of its own (`benches/peers/src/peers/`, Python's in
`benches/peers/peers.py`), and with the semantics it has. Each figure is the fastest of nine interleaved rounds (on disk:
four), since what else the machine does only ever adds; each round is a fresh process with a fresh directory. Keys are paths
such as `corpus/part-017/item-000017.txt`. The function only copies its result, unless stated. The page cache is warm.
Figures of one column can be compared, those of two runs can't. CPU is what all threads of a process computed together. Where
the load is far above the number of cores, others computed at the same time: then time on the clock favours who waits for the
disk over who computes, and CPU is the fairer figure.
";

pub(crate) const QUICK: &str = "
**A quick run: that it runs, not what it costs.**
";

pub(crate) const SUMMARY: &str = "
## In short

Bold is who was first. The last column sets memopool's time against the fastest peer that promises the same for this
workload: values shared by all threads and a cold key run once, and on disk the same safety. Below 1 memopool is faster; (1)
marks where it is more than 10 % slower.

| workload | first | memopool | memopool against the best of its like |
|---|---|---|---|
";

pub(crate) const WHY: &str = "\
Where memopool is not first, or within 10 % of the first, the reason:
";

/// One line of the summary.
pub(crate) struct Workload {
    pub(crate) part: &'static str,
    pub(crate) title: &'static str,
    /// Which of our lines it is about.
    pub(crate) us: &'static str,
    /// The peers that promise the same.
    pub(crate) alike: &'static [&'static str],
    pub(crate) unit: Unit,
    /// Why we are not first, if we are not.
    pub(crate) why: &'static str,
}

/// Those that run a cold key once for all threads.
const ONCE: &[&str] = &["moka", "quick_cache", "foyer", "cached"];

const LOOK_UP: &str = "\
quick_cache looks up a typed key and clones an `Arc`, and Python's dictionary has the hash of its string at hand. \
memopool encodes the arguments together with the \
function's identity, so that one table serves all functions and the same key works on disk and in other processes, counts \
the hit, and hands out a task. It is ahead of moka and foyer, which also keep an account of what is used. If you only want a \
look-up, take quick_cache";

const WRITES: &str = "\
one log of records that prove themselves needs no tree to be kept in order, but each value goes through the queue, a worker \
and the writer's thread, is encoded and hashed twice (its key and its record), and can be found by other processes as soon \
as it is written. A database that gets everything in one transaction pays none of that, and has nothing if the process is \
killed before its end. foyer and cacache never sync";

const LARGE_WRITES: &str = "\
large values are bounded by hashing (BLAKE3), copying into the batch, and the disk itself. foyer does not sync: its time \
ends when the system has the bytes. A database in one transaction has nothing if the process is killed before its end";

const READS: &str = "\
LMDB hands out pages of its map without a copy or a check: see the wrong values below. memopool reads each record, checks \
its BLAKE3 hash, decodes it, compares its key and its type's shape, puts it into the memory tier and gives out an `Arc` \
that outlives the transaction";

const FIRST: &str = "\
LMDB maps one file, and cacache opens nothing until asked. memopool opens a directory that several processes write to, \
checks who owns it, registers this process, maps the index, and starts a worker and a writer";

pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        part: "warm-1",
        title: "hit in memory, one thread",
        us: "memopool",
        alike: ONCE,
        unit: Unit::Ns,
        why: LOOK_UP,
    },
    Workload {
        part: "warm-2",
        title: "hit in memory, two threads",
        us: "memopool",
        alike: ONCE,
        unit: Unit::Ns,
        why: "as with one thread",
    },
    Workload {
        part: "cold",
        title: "10 000 cold calls of a function that only copies, each",
        us: "memopool",
        alike: ONCE,
        unit: Unit::Ns,
        why: "\
the caches get their keys from rayon's parallel loop, which splits a slice that is all there and hands nothing over per \
key. memopool makes each call a task that can be joined, cancelled, waited for and awaited, and gives results in order while \
the calls are made lazily; its memory tier is bounded in bytes and does the accounting of moka besides. That is some \
microseconds for each call that computes, to be set against what the function takes",
    },
    Workload {
        part: "zipf",
        title: "5 000 calls over 500 keys, waiting 1 ms each",
        us: "memopool",
        alike: ONCE,
        unit: Unit::Ms,
        why: "\
all of them run each key once, on as many threads as there are cores; what is left is how soon a busy machine wakes a thread \
that has waited, and rounds of one peer differ by more than peers do. Python's pool has four threads more by default, which \
is right for functions that wait: here that is `threads(2..=64)`",
    },
    Workload {
        part: "write-100",
        title: "writing 100 B results, safe in batches",
        us: "memopool-synced",
        alike: &["redb", "lmdb"],
        unit: Unit::Rate,
        why: WRITES,
    },
    Workload {
        part: "write-100",
        title: "writing 100 B results, safe at the end",
        us: "memopool-disk",
        alike: &["redb-one", "lmdb-one"],
        unit: Unit::Rate,
        why: "as above",
    },
    Workload {
        part: "flushed-100",
        title: "writing 100 B results that are known, and flushing",
        us: "memopool-disk",
        alike: &["redb-one", "lmdb-one"],
        unit: Unit::Rate,
        why: "\
`insert_all` makes each batch of 1 024 readable by other processes, and safe against a kill, as it is written, and hashes every \
value and its key, so that any damage is found. A database in one transaction sorts what it gets into its pages, syncs once, and \
has nothing before that",
    },
    Workload {
        part: "write-64k",
        title: "writing 64 KiB results, safe in batches",
        us: "memopool-synced",
        alike: &["redb", "lmdb"],
        unit: Unit::Megabytes(64 << 10),
        why: LARGE_WRITES,
    },
    Workload {
        part: "write-64k",
        title: "writing 64 KiB results, safe at the end",
        us: "memopool-disk",
        alike: &["redb-one", "lmdb-one"],
        unit: Unit::Megabytes(64 << 10),
        why: "as above",
    },
    Workload {
        part: "write-1m",
        title: "writing 1 MiB results, safe at the end",
        us: "memopool-disk",
        alike: &["redb-one", "lmdb-one"],
        unit: Unit::Megabytes(1 << 20),
        why: "as above",
    },
    Workload {
        part: "read",
        title: "100 000 results of 1 KiB in a fresh process, each",
        us: "memopool-disk",
        alike: &["cacache", "foyer-hybrid"],
        unit: Unit::Us,
        why: READS,
    },
    Workload {
        part: "read-first",
        title: "opening that directory and the first hit",
        us: "memopool-disk",
        alike: &["cacache", "foyer-hybrid"],
        unit: Unit::Ms,
        why: FIRST,
    },
];

/// A table of all peers of some kinds.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) kinds: &'static [Kind],
    pub(crate) columns: &'static [Column],
}

pub(crate) const TABLES: &[Table] = &[
    Table {
        title: "In memory",
        text: "\
Results of 100 B. A hit: 10 000 keys in an order that is far from theirs, time per hit and thread. Cold: calls of a function \
that only copies. Zipf: some keys are asked for far more often than others, and the function waits for a millisecond, as one that fetches \
does; the caches save nine runs in ten. Lines without a cache show what the threads alone cost.",
        kinds: &[Kind::Memory, Kind::Threads],
        columns: &[
            ("hit, 1 thread", "warm-1", Figure::Time(Unit::Ns)),
            ("hit, 2 threads", "warm-2", Figure::Time(Unit::Ns)),
            ("cold call", "cold", Figure::Time(Unit::Ns)),
            ("its CPU", "cold", Figure::Cpu(Unit::Ns)),
            ("Zipf batch", "zipf", Figure::Time(Unit::Ms)),
            ("runs in it", "zipf", Figure::Runs),
        ],
    },
    Table {
        title: "One run",
        text: "\
How often the function ran when eight threads, or four processes, asked for one cold key at the same moment: if it gives a \
value, fails, or panics. Fewer is better; one means that all got the outcome of the same run. redb lets one process open a database, unless it is set to \
`MultiWriter`, which is not measured here. Parallel: the function is a `par_iter` of 24 pieces, and 64 jobs of the same four \
threads of rayon's ask for each of ten keys, one after the other while it runs (rayon-rs/rayon#592); ten runs are all that is needed.",
        kinds: &[Kind::Memory, Kind::Disk, Kind::Threads],
        columns: &[
            ("value", "herd-value", Figure::Runs),
            ("error", "herd-error", Figure::Runs),
            ("panic", "herd-panic", Figure::Runs),
            ("value, 4 processes", "together", Figure::Together),
            ("parallel, 10 keys", "herd-parallel", Figure::Runs),
        ],
    },
    Table {
        title: "Writing",
        text: "\
Computing and keeping results that are not there, until all of them are safe (`flush`, the last commit, `close`), on all \
cores: 50 000 of 100 B, 1 000 of 64 KiB, 100 of 1 MiB. The peers that make a file, or a transaction, for each entry get fewer of \
them: diskcache a tenth, cacache a twentieth, `cached` and joblib a fiftieth (of 1 MiB: 10, 5, 2, 2). What is safe differs. memopool: against a kill as soon as it is written, which is within milliseconds while the disk keeps up; \
against a power loss at the flush, or after each batch with `Sync::EachBatch`. redb, LMDB: both at each commit, nothing before \
it. `cached`: both at each entry. foyer, cacache, diskcache, joblib: against a kill only.\n\n\
*Known*: 100 000 results of 100 B that need not be computed, given by one thread: memopool's `insert_all`; databases in transactions \
of 256, or in one. *Known* is the time until the last call returns, when a kill costs nothing any more; *and flushed* until a \
power loss costs nothing either.",
        kinds: &[Kind::Disk, Kind::Floor],
        columns: &[
            ("100 B", "write-100", Figure::Time(Unit::Rate)),
            ("its CPU", "write-100", Figure::Cpu(Unit::Us)),
            ("100 B, known", "store-100", Figure::Time(Unit::Rate)),
            ("and flushed", "flushed-100", Figure::Time(Unit::Rate)),
            ("its CPU", "store-100", Figure::Cpu(Unit::Us)),
            ("64 KiB", "write-64k", Figure::Time(Unit::Megabytes(64 << 10))),
            ("1 MiB", "write-1m", Figure::Time(Unit::Megabytes(1 << 20))),
            ("its CPU", "write-1m", Figure::Cpu(Unit::Ms)),
        ],
    },
    Table {
        title: "Reading in a fresh process",
        text: "\
A directory with 100 000 results of 1 KiB (`cached` and joblib: 2 000). All of them once, in order, on all cores, opening \
included; opening and one of them; blocks on disk for each byte of results. Then, in a directory with 5 000 of them, 40 random \
bits flipped (not in pages of zeros): how many values were wrong, and how many were computed again; \
\"fails\" where the store could not be opened, or not be written, any more.",
        kinds: &[Kind::Disk],
        columns: &[
            ("each of all", "read", Figure::Time(Unit::Us)),
            ("its CPU", "read", Figure::Cpu(Unit::Us)),
            ("open + first", "read-first", Figure::Time(Unit::Ms)),
            ("bytes per byte", "read", Figure::Disk),
            ("wrong, computed again", "flips", Figure::Wrong),
        ],
    },
];

/// What is measured, in which part, our line, theirs, and how many times faster we mean to be.
pub(crate) const BARS: &[(&str, &str, &str, &str, f64)] = &[
    ("writing 100 B that are known", "store-100", "memopool-disk", "redb", 10.0),
    ("writing 100 B that are known", "store-100", "memopool-disk", "lmdb", 10.0),
    ("the same, flushed", "flushed-100", "memopool-disk", "redb", 10.0),
    ("the same, flushed", "flushed-100", "memopool-disk", "lmdb", 10.0),
    ("writing 100 B, safe in batches", "write-100", "memopool-synced", "redb", 10.0),
    ("writing 100 B, safe in batches", "write-100", "memopool-synced", "lmdb", 10.0),
    ("writing 100 B, safe at the end", "write-100", "memopool-disk", "redb", 10.0),
    ("writing 100 B, safe at the end", "write-100", "memopool-disk", "lmdb", 10.0),
    ("writing 64 KiB", "write-64k", "memopool-disk", "plain", 0.7),
    ("writing 1 MiB", "write-1m", "memopool-disk", "plain", 0.7),
    ("100 000 warm results, fresh process", "read", "memopool-disk", "cacache", 20.0),
    ("100 000 warm results, fresh process", "read", "memopool-disk", "diskcache", 20.0),
];

/// What stands above the targets.
pub(crate) const TARGETS: &str = "\
These are the project's own targets.
";

pub(crate) const TAIL: &str = "
Why targets were missed. A result of 100 B costs several microseconds of CPU on its way through the pool (see \"its CPU\"):
its key is encoded and hashed, it is claimed among processes, queued, run, kept in memory, encoded, hashed and indexed. That
is as much as a database computes for it, which then waits for its syncs besides. What is known already takes a shorter way
(`insert_all`). At 64 KiB and more, encoding, hashing and copying take longer than the
one copy into the page cache that the plain file pays for. And a twentieth of what cacache and diskcache compute for one read
is less than a `pread` and a BLAKE3 hash of 1 KiB, which every hit pays here.

## What each does better

- **quick_cache**: the fastest look-up here. Typed keys, nothing serialised, no threads.
- **moka**: expiry per entry, listeners with causes, invalidation by predicate, an async twin; years of use. memopool asks it
  which results to give up.
- **cached**: the shortest way to cache a function in one process: an attribute, no pool. Stores to choose from, Redis among
  them; `result_fallback` serves the last good value when a refresh fails.
- **memoize**: one attribute, almost no dependencies.
- **a map of `OnceLock`s**: twenty lines of std. It grows without end, and a failure is shared with nobody.
- **foyer**: made for async services with caches far larger than memory: admission filters, throttled devices, io_uring, an
  async interface throughout. Within one process it shares errors and panics as memopool does.
- **cacache**: content-addressed: equal contents are stored once, and can be fetched by their hash. Plain files, which any tool
  can read. Every read is verified, as here.
- **redb**, **LMDB**: databases: ranges in key order, several tables, transactions over many entries, snapshots. LMDB reads
  without copying, and is the fastest way to read small values that one is ready to trust.
- **rayon**: parallel loops over data that is there. It splits the work instead of queueing it; nothing here comes near for
  that. It can be used inside of a memoized function.
- **threadpool**: a queue and threads, and nothing to learn.
- **`functools.lru_cache`**, **`ThreadPoolExecutor`**: in the standard library, nothing to install.
- **joblib.Memory**: keys NumPy arrays by content and maps large ones from disk; the directory shows functions and arguments
  as files.
- **diskcache**: SQLite underneath: tags, expiry, queues, counters, and a directory that Django can use. Its recipes have a
  `barrier` that makes a cold key run once, if it is added to the function.
";
