//! The archive that `torch.save` puts a pickle into.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive as it is; anything else as the pickle of one that has a storage `0` of 96 bytes.
pub fn around(data: &[u8]) -> Vec<u8> {
    if data.starts_with(b"PK") {
        return data.to_vec();
    }
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [("x/data.pkl", data), ("x/data/0", &[0x3f; 96])] {
        // Writing to memory does not fail.
        let _ = zip.start_file(name, options).map(|()| zip.write_all(bytes));
    }
    zip.finish().map(Cursor::into_inner).unwrap_or_default()
}
