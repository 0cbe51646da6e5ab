//! Two steps that look for files that are nearly the same: a signature for each, and the pairs.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use memopool::key::Hashed;
use memopool::{Error, memo};

use crate::lexer::lex;
use crate::{File, pool};

/// A minhash signature: two files have in common the share of its numbers that they have of runs of five tokens, give or
/// take 3 %.
#[memo(deps(lex))]
pub(crate) fn signature(text: &Hashed<str>) -> Result<Vec<u32>, Error> {
    let tokens = &pool().run(lex::call(text))?.tokens;
    if tokens.len() < 100 {
        return Ok(Vec::new()); // so short that they are alike by chance
    }
    let mut least = vec![u32::MAX; 256];
    for run in tokens.windows(5) {
        let run =
            run.iter().fold(0, |hash: u32, token| (hash ^ token).wrapping_mul(0x85eb_ca6b).rotate_left(13));
        for (least, n) in least.iter_mut().zip(0x9e37_79b9_u32..) {
            *least = (*least).min((run ^ n).wrapping_mul(n.wrapping_mul(0xc2b2_ae35) | 1));
        }
    }
    Ok(least)
}

/// Files of different crates that are alike but not equal: two indices and the percentage, the longest file first.
#[memo]
pub(crate) fn duplicates(files: &[File]) -> Vec<(usize, usize, usize)> {
    let (mut last, mut candidates) = (HashMap::new(), BTreeSet::new());
    for (i, file) in files.iter().enumerate() {
        for band in file.summary.signature.chunks(8).enumerate() {
            candidates.extend(last.insert(band, i).map(|before| (before, i)));
        }
    }
    let compare = |(i, j): (usize, usize)| {
        let (a, b) = (&files[i], &files[j]);
        let same = a.summary.signature.iter().zip(&b.summary.signature).filter(|(a, b)| a == b).count();
        let percent = 100 * same / a.summary.signature.len();
        (percent >= 80 && a.krate != b.krate && a.key != b.key).then_some((i, j, percent))
    };
    let mut pairs: Vec<_> = candidates.into_iter().filter_map(compare).collect();
    pairs.sort_by_key(|&(i, ..)| Reverse(files[i].summary.measures.lines));
    pairs
}
