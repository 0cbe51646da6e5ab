//! How facts become numbers. Part of the format: other numbers lose everyone's cache.

/// Whether two names are one and the same. Names that are only equal are told apart where it does not have to be fast.
#[inline]
pub(super) fn same(one: &'static str, other: &'static str) -> bool {
    std::ptr::eq(one, other)
}

/// The same text. Comparing texts that lie at no address at all is slow on some machines, so empty ones are not compared.
pub(super) fn equal(one: &'static str, other: &'static str) -> bool {
    one.len() == other.len() && (one.is_empty() || same(one, other) || one == other)
}

/// Both multiplied, high and low half folded. Not against anyone who chooses types to collide.
#[inline]
pub(super) fn mix(one: u64, other: u64) -> u64 {
    let product = u128::from(one ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other ^ 0xd1b5_4a32_d192_ed03);
    product as u64 ^ (product >> 64) as u64
}

/// 0 for no text. Overlapping words instead of a padded last one, because the names are short.
#[inline]
pub(super) fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = (bytes.len() as u64).wrapping_mul(FORMAT);
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        hash = mix(hash, u64::from_le_bytes(*first));
        for word in bytes[8..].as_chunks().0.iter().chain([last]) {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let halves = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        hash = mix(hash, halves);
    } else if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
        let middle = bytes[bytes.len() / 2];
        hash = mix(hash, u64::from_le_bytes([*first, middle, *last, 0, 0, 0, 0, 0]));
    }
    hash
}

/// Changes when what counts as a fact changes, or how it is hashed.
pub(super) const FORMAT: u64 = 0x6d6d_6f31_0000_0001;
