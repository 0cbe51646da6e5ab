//! Whether a value that was decoded encodes to the same bytes again.

use std::io::{self, Write};

/// A sink that compares what it is given with what is expected, byte for byte; from the first difference on, it counts
/// how often each byte comes.
pub(super) struct Comparing<'b> {
    expected: &'b [u8],
    /// How much more often than expected each byte came.
    differences: Option<Box<[i64; 256]>>,
}

impl Comparing<'_> {
    pub(super) fn with(expected: &[u8]) -> Comparing<'_> {
        Comparing { expected, differences: None }
    }

    pub(super) fn same(&self) -> bool {
        self.expected.is_empty()
            && self.differences.as_ref().is_none_or(|counts| counts.iter().all(|count| *count == 0))
    }
}

impl Write for Comparing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((expected, rest)) = self.expected.split_at_checked(bytes.len()) else {
            return Err(io::Error::other("it is longer after it was encoded and decoded"));
        };
        self.expected = rest;
        if self.differences.is_some() || expected != bytes {
            let counts = self.differences.get_or_insert_with(|| Box::new([0; 256]));
            for (came, due) in bytes.iter().zip(expected) {
                counts[usize::from(*came)] += 1;
                counts[usize::from(*due)] -= 1;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
