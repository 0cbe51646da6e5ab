//! What is counted, and where: allocations by an allocator of this program's own, for each thread apart.

#[path = "../../tests/common/allocator.rs"]
mod allocator;

use allocator::allocated;

/// How often this thread allocates in `work`. Callgrind knows this function by its name, and counts from when it is
/// entered to when it is left: so it is neither inlined nor left by a jump, and has no closures of its own.
#[inline(never)]
pub(crate) fn counted_part(work: &mut dyn FnMut()) -> u64 {
    let (before, ..) = allocated();
    work();
    allocated().0 - before
}
