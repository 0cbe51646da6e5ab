//! stub
use crate::config::disk::Compress;
pub(crate) fn pack(_: &[u8], _: Compress) -> Option<(Vec<u8>, u16)> {
    None
}
pub(crate) fn unpack(_: &[u8], _: u64, _: u16) -> Result<Option<Vec<u8>>, String> {
    Ok(None)
}
