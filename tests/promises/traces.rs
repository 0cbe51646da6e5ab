//! What `tracing` is told (feature `tracing`), as a small subscriber records it.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::fs;
use std::sync::{Arc, Mutex};

use memopool::testing::{Faults, Op};
use memopool::{Builder, Disk, Event, Func, Pool};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

use crate::{Gate, build, in_time, until};

/// Records spans and events. Clones are one and the same.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<Opened>,
    events: Vec<Happened>,
}

/// The span with the number of its place among all, and 1.
struct Opened {
    metadata: &'static Metadata<'static>,
    fields: String,
    parent: Option<u64>,
    follows: Vec<u64>,
}

struct Happened {
    level: Level,
    fields: String,
    span: Option<u64>,
}

thread_local! {
    /// The spans that this thread is in.
    static INSIDE: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn innermost() -> Option<u64> {
    INSIDE.with_borrow(|inside| inside.last().copied())
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("a string takes anything");
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let parent = span.parent().map(Id::into_u64).or_else(|| innermost().filter(|_| span.is_contextual()));
        let mut recorded = self.0.lock().unwrap();
        recorded.spans.push(Opened { metadata: span.metadata(), fields: fields.0, parent, follows: vec![] });
        Id::from_u64(recorded.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.lock().unwrap().spans[span.into_u64() as usize - 1].follows.push(follows.into_u64());
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        self.0.lock().unwrap().events.push(Happened { level, fields: fields.0, span: innermost() });
    }

    fn enter(&self, span: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        assert_eq!(INSIDE.with_borrow_mut(Vec::pop), Some(span.into_u64()), "left in the order of entering");
    }

    fn current_span(&self) -> Current {
        match innermost() {
            Some(id) => {
                Current::new(Id::from_u64(id), self.0.lock().unwrap().spans[id as usize - 1].metadata)
            }
            None => Current::none(),
        }
    }
}

impl Recorder {
    /// A builder whose threads report here.
    fn builder(&self) -> Builder {
        let recorder = self.clone();
        Pool::builder().threads(2).on_thread_start(move || {
            // For as long as the thread lives.
            std::mem::forget(tracing::subscriber::set_default(recorder.clone()));
        })
    }

    /// Runs it with this thread reporting here, too.
    fn listen<T>(&self, f: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(self.clone(), f)
    }

    /// The number of the one span with that name and field.
    fn span(&self, name: &str, field: &str) -> u64 {
        let recorded = self.0.lock().unwrap();
        let fits = |span: &Opened| span.metadata.name() == name && span.fields.contains(field);
        let found: Vec<_> = (1..).zip(&recorded.spans).filter(|(_, span)| fits(span)).collect();
        assert_eq!(found.len(), 1, "spans `{name}` with {field}");
        found[0].0
    }

    fn parent(&self, span: u64) -> Option<u64> {
        self.0.lock().unwrap().spans[span as usize - 1].parent
    }

    /// The level, and the span, of the one event with all of these in its text.
    fn event(&self, texts: &[&str]) -> (Level, Option<u64>) {
        let recorded = self.0.lock().unwrap();
        let fits = |event: &&Happened| texts.iter().all(|text| event.fields.contains(text));
        let found: Vec<_> = recorded.events.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "events with {texts:?}");
        (found[0].level, found[0].span)
    }

    /// Everything that was said.
    fn text(&self) -> String {
        let recorded = self.0.lock().unwrap();
        let spans = recorded.spans.iter().map(|span| span.fields.as_str());
        spans.chain(recorded.events.iter().map(|event| event.fields.as_str())).collect()
    }
}

/// In a trace, work on a worker hangs in the air: nobody sees which request it was done for.
#[test]
fn spans_cross_from_submitter_to_worker() {
    in_time(|| {
        let recorder = Recorder::default();
        let (inner, gate) = (Func::new("traces::inner", |n: u64| n + 1), Gate::default());
        let outer = Func::named("traces::outer").resource((inner, gate.clone())).func(
            |(inner, gate): &(Func<u64, u64>, Gate), n: u64| {
                gate.pass();
                tracing::info!("in the body");
                *Pool::current().expect("inside a task").run(inner.call(n)).expect("it can't fail")
            },
        );
        let pool = build(recorder.builder());
        recorder.listen(|| {
            let first = info_span!("first").in_scope(|| pool.submit(outer.call(1)));
            let joined = info_span!("second").in_scope(|| pool.submit(outer.call(1)));
            gate.open();
            assert_eq!((*first.wait().unwrap(), *joined.wait().unwrap()), (2, 2));
        });
        pool.shutdown();
        let (first, second) = (recorder.span("first", ""), recorder.span("second", ""));
        let outer = recorder.span("run", "function=\"traces::outer\"");
        let inner = recorder.span("run", "function=\"traces::inner\"");
        assert_eq!((recorder.parent(outer), recorder.parent(inner)), (Some(first), Some(outer)));
        assert_eq!(recorder.0.lock().unwrap().spans[outer as usize - 1].follows, [second]);
        assert_eq!(recorder.event(&["in the body"]).1, Some(outer), "what the body says is in its span");
        assert_eq!(recorder.event(&["computed", "traces::inner"]).1, Some(inner));
        assert_eq!(recorder.event(&["joined", "traces::outer"]).1, Some(second));
        // Whoever goes on after that is outside of it.
        assert_eq!(innermost(), None);
    });
}

/// At `debug` a log drowns in hits, or at `warn` a broken cache is silent.
#[test]
fn hits_are_traced_misses_debugged_and_trouble_warned_of() {
    in_time(|| {
        let recorder = Recorder::default();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("cache");
        let square = Func::new("traces::square", |n: u64| n * n);
        let pool = build(recorder.builder().disk(&path));
        recorder.listen(|| {
            pool.run(square.call(3)).unwrap();
            pool.run(square.call(3)).unwrap();
        });
        drop(pool);
        assert_eq!(recorder.event(&["miss", "traces::square"]).0, Level::DEBUG);
        assert_eq!(recorder.event(&["computed", "traces::square"]).0, Level::DEBUG);
        assert_eq!(recorder.event(&["hit in memory", "traces::square"]).0, Level::TRACE);

        let recorder = Recorder::default();
        let pool = build(recorder.builder().disk(&path));
        recorder.listen(|| pool.run(square.call(3)).unwrap());
        drop(pool);
        assert_eq!(recorder.event(&["hit on disk", "traces::square"]).0, Level::TRACE);

        let segment = fs::read_dir(path.join("v1/seg")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&segment).unwrap();
        *bytes.iter_mut().rfind(|byte| **byte != 0).unwrap() ^= 1;
        fs::write(&segment, bytes).unwrap();
        let recorder = Recorder::default();
        let faults = Faults::new();
        let pool = build(recorder.builder().memory(0).disk(Disk::new(&path).faults(&faults)));
        recorder.listen(|| pool.run(square.call(3)).unwrap());
        pool.flush().unwrap();
        faults.fail_every(Op::Read, 1);
        recorder.listen(|| pool.run(square.call(3)).unwrap());
        pool.shutdown();
        assert_eq!(recorder.event(&["damaged", "traces::square"]).0, Level::WARN);
        assert_eq!(recorder.event(&["the disk tier has stopped working"]).0, Level::WARN);
    });
}

/// A secret that is passed to a function, or quoted by its error, is in everybody's log.
#[test]
fn no_argument_is_ever_told() {
    in_time(|| {
        let recorder = Recorder::default();
        let pool = build(recorder.builder());
        let open = Func::fallible("traces::open", |secret: String| match secret.len() {
            14 => Err(format!("no such key: {secret}")),
            _ => panic!("not a key: {secret}"),
        })
        .retries(1);
        let open = || open.clone() as Func<String, ()>;
        recorder.listen(|| {
            info_span!("caller").in_scope(|| {
                assert!(pool.run(open().call("xyzzy-is-a-key".into())).unwrap_err().is_failed());
                assert!(pool.run(open().call("xyzzy".into())).unwrap_err().is_panic());
            });
        });
        pool.shutdown();
        let told = recorder.text();
        assert!(told.contains("kind=\"failed\"") && told.contains("kind=\"panic\""), "{told}");
        assert!(told.contains("attempt=1") && told.contains("key="), "{told}");
        assert!(!told.contains("xyzzy"), "{told}");
    });
}

/// With the feature on, a listener of the user's own hears nothing any more.
#[test]
fn the_users_own_listener_is_told_as_well() {
    in_time(|| {
        let (recorder, gate) = (Recorder::default(), Gate::default());
        let pool = build(recorder.builder().on_event({
            let gate = gate.clone();
            move |event| {
                if let Event::Computed { .. } = event {
                    gate.open();
                }
            }
        }));
        pool.run(Func::new("traces::told", |n: u64| n).call(1)).unwrap();
        gate.pass();
        until(|| !recorder.0.lock().unwrap().events.is_empty());
    });
}
