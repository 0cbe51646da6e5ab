//! Threads that the system does not give: a seam stands in for the system.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use super::*;
use crate::config::{DEFAULT_QUEUE, DEFAULT_STACK_SIZE};
use crate::event::Listener;
use crate::run::{Lane, Plan, Unit};
use crate::sync::atomic::AtomicUsize;
use crate::sync::{JoinHandle, Mutex, spawn};

/// A job of a runner alone.
struct Work(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Unit for Work {
    fn is_pending(&self) -> bool {
        self.0.lock().is_some()
    }

    fn perform(&self) {
        let work = self.0.lock().take();
        work.into_iter().for_each(|work| work());
    }

    fn mark_parked(&self, _: bool) {}

    fn abandon(&self) {
        drop(self.0.lock().take());
    }
}

/// How many threads the system gives, from now on. One per test: they run at once.
struct System(AtomicUsize);

impl System {
    fn start(&self, name: String, body: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => spawn(name, None, body),
            Err(_) => Err(io::Error::other("no more threads")),
        }
    }
}

/// A runner of that width, and what its listener is told.
fn runner(width: usize, spawn: crate::run::Spawn) -> (Arc<Runner>, Receiver<String>) {
    let (send, told) = channel();
    let on_event: Listener = Arc::new(move |event: &Event<'_>| send.send(format!("{event:?}")).unwrap());
    let plan = Plan {
        width: 0..=width,
        max_os_threads: width + 4,
        keep_alive: FOREVER,
        queue: DEFAULT_QUEUE,
        stack_size: DEFAULT_STACK_SIZE,
        name: "worker-tests".into(),
        on_thread_start: None,
        executor: None,
        on_event: Some(on_event),
        spawn,
    };
    (Runner::new(crate::ids::unique(), plan), told)
}

fn push(runner: &Arc<Runner>, work: impl FnOnce() + Send + 'static) -> Result<(), io::Error> {
    runner.push(Arc::new(Work(Mutex::new(Some(Box::new(work))))), Lane::Ordinary)
}

fn end(runner: &Arc<Runner>) {
    runner.close(false);
    assert!(runner.join(None));
    assert_eq!(runner.threads(), 0);
}

/// One thread of several that can't be started fails tasks, though another will come to them; or the pool never tries again.
#[test]
fn a_thread_that_is_not_given_is_not_missed_while_one_lives() {
    static SYSTEM: System = System(AtomicUsize::new(1));
    let (runner, told) = runner(3, |name, _, body| SYSTEM.start(name, body));
    let (gate, closed): (Sender<()>, _) = channel();
    push(&runner, move || closed.recv().unwrap()).unwrap();
    let (send, done) = channel();
    for n in 0..3 {
        let send = send.clone();
        push(&runner, move || send.send(n).unwrap()).unwrap();
    }
    assert_eq!(runner.threads(), 1);
    let failed = told.try_iter().collect::<Vec<_>>();
    assert!(failed.len() == 3 && failed.iter().all(|event| event.contains("no more threads")), "{failed:?}");
    gate.send(()).unwrap();
    assert_eq!(done.iter().take(3).collect::<Vec<_>>(), [0, 1, 2], "the one that lives does it all");
    // The system has threads again.
    SYSTEM.0.store(2, Ordering::SeqCst);
    let (meets, met): (Vec<_>, Vec<_>) = [channel::<()>(), channel()].into_iter().unzip();
    for (n, (meet, other)) in meets.into_iter().rev().zip(met).enumerate() {
        let send = send.clone();
        push(&runner, move || {
            // Only both of them together get through.
            meet.send(()).unwrap();
            other.recv().unwrap();
            send.send(n).unwrap();
        })
        .unwrap();
    }
    assert_eq!(done.iter().take(2).sum::<usize>(), 1);
    end(&runner);
}

/// Without any thread a task is queued for nobody.
#[test]
fn a_thread_that_is_not_given_is_an_error_when_none_lives() {
    static SYSTEM: System = System(AtomicUsize::new(0));
    let (runner, told) = runner(2, |name, _, body| SYSTEM.start(name, body));
    let error = push(&runner, || {}).unwrap_err();
    assert_eq!(error.to_string(), "no more threads");
    assert_eq!((told.try_iter().count(), runner.threads()), (1, 0));
    SYSTEM.0.store(1, Ordering::SeqCst);
    let (send, done) = channel();
    push(&runner, move || send.send(7).unwrap()).unwrap();
    assert_eq!(done.recv().unwrap(), 7);
    end(&runner);
}

/// `shutdown_now` returns, and a task that was submitted just then has no answer until the body before it ends, if it ever does.
#[test]
fn what_is_queued_behind_a_shutdown_is_given_up_at_once() {
    let (runner, _told) = runner(1, spawn);
    // The share of a body that goes on.
    runner.load.add();
    let ((gate, closed), (started, is_started)) = (channel::<()>(), channel());
    push(&runner, move || {
        started.send(()).unwrap();
        closed.recv().unwrap();
    })
    .unwrap();
    is_started.recv().unwrap();
    runner.close(true);
    let (send, done) = channel();
    push(&runner, move || send.send(()).unwrap()).unwrap();
    assert_eq!(done.try_recv(), Err(TryRecvError::Disconnected));
    gate.send(()).unwrap();
    assert!(runner.load.remove_aside());
    end(&runner);
}

/// The last thread waits, and none can be started in its place: whoever waits for what is queued would hang.
#[test]
fn a_pool_whose_threads_wait_and_that_gets_no_more_starves() {
    static SYSTEM: System = System(AtomicUsize::new(1));
    let (runner, told) = runner(1, |name, _, body| SYSTEM.start(name, body));
    let (send, done) = channel();
    let inside = Arc::clone(&runner);
    push(&runner, move || {
        push(&inside, || {}).unwrap();
        let before = inside.is_starving();
        let blocked = context::block_here();
        let meanwhile = inside.is_starving();
        drop(blocked);
        send.send([before, meanwhile, inside.is_starving()]).unwrap();
    })
    .unwrap();
    assert_eq!(done.recv().unwrap(), [false, true, false]);
    assert!(told.try_iter().all(|event| event.contains("no more threads")));
    end(&runner);
}
