//! The files of `src/run` that are examined, as they are, over the swapped [`sync`](crate::sync).

#[path = "../../src/run/idle.rs"]
pub(crate) mod idle;
#[expect(dead_code, reason = "the crate uses more of it than the scenarios do")]
#[path = "../../src/run/wait_graph.rs"]
pub(crate) mod wait_graph;
