//! The one file of `src/run` that is examined, as it is, over the swapped [`sync`](crate::sync).

#[expect(dead_code, reason = "the crate uses more of it than the scenarios do")]
#[path = "../../src/run/wait_graph.rs"]
pub(crate) mod wait_graph;
