//! The length and data that a safetensors header stands between.

/// A header's JSON with its length before it and 64 bytes after it; anything else as it is.
pub fn around(data: &[u8]) -> Vec<u8> {
    if !data.starts_with(b"{") {
        return data.to_vec();
    }
    [&(data.len() as u64).to_le_bytes(), data, &[0x3f; 64]].concat()
}
