//! Files that are no weights, told by their first bytes, each with the way out.

/// `(first bytes, what it is and what to do)`.
const STARTS: [(&[u8], &str); 11] = [
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer of a few lines, not the file it stands for; run `git lfs pull` in its repository, or download \
         the file itself",
    ),
    (b"\x1f\x8b", "a gzip archive; unpack it and name the file inside"),
    (b"BZh", "a bzip2 archive; unpack it and name the file inside"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it and name the file inside"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it and name the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it and name the file inside"),
    (b"Rar!", "a RAR archive; unpack it and name the file inside"),
    (b"GGUF", "a GGUF file, of llama.cpp; expected safetensors or a PyTorch checkpoint"),
    (b"\x89HDF", "an HDF5 file, as Keras writes; expected safetensors or a PyTorch checkpoint"),
    (b"\x93NUMPY", "a NumPy array; expected safetensors or a PyTorch checkpoint"),
    (b"\x89PNG", "a picture; expected safetensors or a PyTorch checkpoint"),
];

/// Bytes of a file's beginning that are looked at.
pub(super) const LOOKED_AT: usize = 512;

/// What a file that begins with these bytes is, if it holds no weights; none where it may.
pub(super) fn told(bytes: &[u8]) -> Option<String> {
    if let Some((_, what)) = STARTS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some((*what).to_owned());
    }
    if bytes.get(257..262).is_some_and(|magic| magic == b"ustar") {
        return Some("a tar archive; unpack it and name the file inside".to_owned());
    }
    let old = bytes.starts_with(&[0x80]) && bytes.get(1).is_some_and(|version| (2..=5).contains(version));
    if old && bytes.get(7) != Some(&0) {
        return Some("a bare pickle, as PyTorch before 1.6 wrote; load it there and torch.save it again".to_owned());
    }
    if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
        return Some(format!(
            "{} bytes that begin with zeros alone: a download that never came; start it again",
            bytes.len()
        ));
    }
    let start = String::from_utf8_lossy(bytes).to_lowercase();
    let start = start.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with("<!doctype") || start.starts_with("<html") || start.starts_with("<?xml") {
        let what =
            "a web page, such as a login or an error, not the file; download it from the page's link to the file";
        return Some(what.to_owned());
    }
    if start.starts_with('{') || start.starts_with('[') {
        return Some("JSON text; an index of shards ends in .json and lies beside its shards".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_none_are_told() {
        let mut tar = vec![b'x'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expected) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"[..], "Git LFS pointer"),
            (b"\r\n <!DOCTYPE html><html>", "a web page"),
            (b"\xef\xbb\xbf<html lang=en>", "a web page"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "a gzip archive"),
            (b"{\"error\": \"Repository not found\"}", "JSON text"),
            (&tar, "a tar archive"),
            (&[0; 64], "zeros alone"),
            (b"\x80\x02\x8a\nl\xfc\x9cF", "a bare pickle"),
        ] {
            let told = told(bytes).unwrap_or_default();
            assert!(told.contains(expected), "{expected}: {told}");
        }
        // A safetensors header and a zip may hold weights.
        assert_eq!(told(b"\x40\0\0\0\0\0\0\0{\"a\":{"), None);
        assert_eq!(told(b"PK\x03\x04\0\0\0\0"), None);
    }
}
