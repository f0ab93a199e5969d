//! safetensors files, in and out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{SafeTensorError, SafeTensors};

use super::error::{io_error, malformed};
use super::lazy::{Bytes, Content, Stretch, Values};
use super::numbers::to_f32;
use super::{Error, LazyTensor, Result, TensorSource, Tensors};

/// Finds every tensor of a safetensors file; f32, f16, bf16, f64, integers and bool all become f32.
///
/// The header is held against the file's true size before anything is allocated, so a file that lies
/// costs no memory; errors name the file and the tensor. Tensors of other types are named in `passed`.
pub(super) fn read(bytes: &Arc<Bytes>, passed: &mut Vec<String>) -> Result<Tensors<LazyTensor>> {
    with_header(bytes, |map, parsed| {
        let mut tensors = Tensors::new();
        let mut unusable = None;
        for (name, view) in parsed.iter() {
            let (shape, dtype) = (view.shape().to_vec(), view.dtype());
            if to_f32(dtype, &[]).is_none() {
                passed.push(format!("{name} (elements of type {dtype:?})"));
                unusable = Some((name.to_owned(), dtype));
                continue;
            }
            let at = (view.data().as_ptr().addr() - map.as_ptr().addr()) as u64;
            let stored = Values::Stored(Stretch { bytes: Arc::clone(bytes), dtype, at });
            tensors.insert(name, LazyTensor::new(shape, stored));
        }
        match unusable {
            Some((tensor, dtype)) if tensors.is_empty() => Err(Error::Tensor {
                path: bytes.path.clone(),
                tensor,
                expected: "F32, F16, BF16, F64, an integer or BOOL".into(),
                got: format!("{dtype:?}"),
            }),
            _ => Ok(tensors),
        }
    })
}

/// Whether a file's header and size agree, without reading its tensors.
pub(crate) fn check(path: &Path) -> Result<()> {
    with_header(&Bytes::open(path)?, |_, _| Ok(()))
}

/// Looks at a file's header. Of a file on the disk only that much is read: the map is of the whole, as the parser wants
/// it, and what is not touched stays outside.
fn with_header<T>(bytes: &Bytes, look: impl FnOnce(&[u8], &SafeTensors<'_>) -> Result<T>) -> Result<T> {
    let path = &bytes.path;
    if bytes.len < 8 {
        return Err(malformed(path, format!("expected a header, got {} bytes in all", bytes.len)));
    }
    let map;
    let content: &[u8] = match &bytes.content {
        Content::Memory(content) => content,
        Content::File(file) => {
            // SAFETY: the map is read-only and dropped before this returns. Another process that shortens
            // the file meanwhile would raise SIGBUS; our own files are replaced, never rewritten.
            map = unsafe { memmap2::Mmap::map(file) }.map_err(io_error("map", path))?;
            &map
        }
    };
    look(content, &parse(path, content)?)
}

fn parse<'a>(path: &Path, map: &'a [u8]) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(map).map_err(|e| malformed(path, reason(&e, map)))
}

/// Says what is wrong with sizes, where the crate's own message only says that something is.
fn reason(error: &SafeTensorError, map: &[u8]) -> String {
    let header = map.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    let size = map.len();
    match error {
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            format!(
                "its header claims {header} bytes, the file has {size} (cut, or not safetensors: download it again)"
            )
        }
        SafeTensorError::MetadataIncompleteBuffer => match claimed(map) {
            Some(claimed) => {
                format!("its tensors need a file of {claimed} bytes, got {size}: cut; download it again")
            }
            None => format!("its tensors do not cover its {size} bytes (truncated?)"),
        },
        other => other.to_string(),
    }
}

/// The file size that the header speaks of, for the message alone.
fn claimed(map: &[u8]) -> Option<u64> {
    let header = u64::from_le_bytes(*map.first_chunk::<8>()?);
    let json = map.get(8..8usize.checked_add(usize::try_from(header).ok()?)?)?;
    let json: serde_json::Value = serde_json::from_slice(json).ok()?;
    let end = json.as_object()?.values().filter_map(|t| t["data_offsets"][1].as_u64()).max()?;
    end.checked_add(8)?.checked_add(header)
}

/// Writes a safetensors file: f32, tensors and metadata sorted by name, so equal tensors make equal bytes.
///
/// It is written aside, synced and renamed: under `path` there is always the old file or the new one.
pub fn save<T: TensorSource>(
    path: impl AsRef<Path>,
    tensors: &Tensors<T>,
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<(), T::Error> {
    replace(path.as_ref(), |aside| {
        let file = File::create(aside).map_err(io_error("create", aside))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write_to(&mut out, aside, tensors, metadata)?;
        let file = out.into_inner().map_err(|e| e.into_error()).map_err(io_error("write", aside))?;
        Ok(file.sync_all().map_err(io_error("sync", aside))?)
    })
}

/// Lets `write` make a file beside `path` and renames it into place; what it left is removed where it fails.
pub(super) fn replace<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let aside = aside(path);
    let written = write(&aside).and_then(|()| {
        std::fs::rename(&aside, path).map_err(io_error("rename into place", path))?;
        Ok(sync_parent(path).map_err(io_error("sync the folder of", path))?)
    });
    if written.is_err() {
        // The first error is the one worth reporting.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".tmp-{}", std::process::id()));
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_dir(parent)
}

/// Makes renames and new entries of a folder durable. Windows cannot sync folders and need not.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn header<T: TensorSource>(tensors: &Tensors<T>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = BTreeMap::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__", serde_json::json!(metadata));
    }
    let mut start = 0;
    for (name, tensor) in tensors.iter() {
        let end = start + 4 * tensor.elements();
        let entry = serde_json::json!({ "dtype": "F32", "shape": tensor.shape(), "data_offsets": [start, end] });
        entries.insert(name, entry);
        start = end;
    }
    let mut json = serde_json::json!(entries).to_string().into_bytes();
    // Readers map the file and want the data aligned.
    json.resize(json.len().next_multiple_of(8), b' ');
    json
}

/// The size in bytes of the file that [`write_to`] makes.
pub(crate) fn encoded_size<T: TensorSource>(tensors: &Tensors<T>, metadata: &BTreeMap<String, String>) -> u64 {
    (8 + header(tensors, metadata).len() + 4 * tensors.elements()) as u64
}

/// Writes the bytes of a safetensors file: the header, which shapes alone decide, then each tensor's values as they come.
/// `path` is for messages.
pub(crate) fn write_to<T: TensorSource>(
    out: &mut (impl Write + ?Sized),
    path: &Path,
    tensors: &Tensors<T>,
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<(), T::Error> {
    let header = header(tensors, metadata);
    let size = (header.len() as u64).to_le_bytes();
    out.write_all(&size).and_then(|()| out.write_all(&header)).map_err(io_error("write", path))?;
    for (name, tensor) in tensors.iter() {
        let mut got = 0;
        tensor.read(|values| {
            got += values.len();
            write_values(out, values).map_err(|e| T::Error::from(io_error("write", path)(e)))
        })?;
        let (shape, expected) = (tensor.shape(), tensor.elements());
        if got != expected {
            let what = format!("tensor {name} of shape {shape:?}: expected {expected} values, got {got}");
            return Err(io_error("write", path)(io::Error::new(io::ErrorKind::InvalidInput, what)).into());
        }
    }
    Ok(out.flush().map_err(io_error("write", path))?)
}

fn write_values(out: &mut (impl Write + ?Sized), values: &[f32]) -> io::Result<()> {
    if cfg!(target_endian = "little") {
        return out.write_all(bytemuck::cast_slice(values));
    }
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{HostTensor, load};
    use half::{bf16, f16};

    use super::*;

    fn sample() -> Tensors {
        let mut tensors = Tensors::new();
        tensors.insert("b.weight", HostTensor { shape: vec![2, 3], data: vec![1.5, -2.0, 0.0, 3.0, 4.0, 5.0] });
        tensors.insert("a", HostTensor { shape: vec![], data: vec![7.0] });
        tensors
    }

    fn raw(dir: &Path, json: &str, data: &[u8]) -> PathBuf {
        let path = dir.join("raw.safetensors");
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.extend(data);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn round_trip_in_sorted_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let metadata: BTreeMap<_, _> = ["z", "y", "x"].map(|k| (k.to_string(), k.to_string())).into();
        save(&path, &sample(), &metadata).unwrap();
        let first = std::fs::read(&path).unwrap();
        save(&path, &sample(), &metadata).unwrap();
        assert_eq!(first, std::fs::read(&path).unwrap());
        assert_eq!(first.len() as u64, encoded_size(&sample(), &metadata));
        assert_eq!(first[0] % 8, 0, "values are aligned");
        assert_eq!(load(&path).unwrap(), sample());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(sample().elements(), 7);
    }

    #[test]
    fn half_precisions_become_f32() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[4,8]},"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"m":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}}"#;
        let mut data = Vec::new();
        data.extend([f16::from_f32(0.5), f16::from_f32(-2.0)].iter().flat_map(|x| x.to_le_bytes()));
        data.extend([bf16::from_f32(3.0), bf16::from_f32(-1.0)].iter().flat_map(|x| x.to_le_bytes()));
        data.extend([0, 1]);
        let tensors = load(raw(dir.path(), json, &data)).unwrap();
        assert_eq!(tensors.get("h").unwrap().data, [0.5, -2.0]);
        assert_eq!(tensors.get("b").unwrap().data, [3.0, -1.0]);
        assert_eq!(tensors.get("m").unwrap().data, [0.0, 1.0]);
    }

    #[test]
    fn numbers_of_all_kinds_become_f32() {
        let dir = tempfile::tempdir().unwrap();
        let kinds: [(&str, Vec<u8>); 7] = [
            ("I8", (-3i8).to_le_bytes().into()),
            ("I16", (-300i16).to_le_bytes().into()),
            ("I32", (-70_000i32).to_le_bytes().into()),
            ("I64", (-5_000_000_000i64).to_le_bytes().into()),
            ("F64", (-0.625f64).to_le_bytes().into()),
            ("U8", vec![200]),
            ("BOOL", vec![1]),
        ];
        let expected = [-3.0, -300.0, -70_000.0, -5e9, -0.625, 200.0, 1.0];
        for ((kind, bytes), expected) in kinds.iter().zip(expected) {
            let json = format!(r#"{{"a":{{"dtype":"{kind}","shape":[1],"data_offsets":[0,{}]}}}}"#, bytes.len());
            assert_eq!(load(raw(dir.path(), &json, bytes)).unwrap().get("a").unwrap().data, [expected], "{kind}");
        }
    }

    #[test]
    fn bad_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let message = |p: &Path| load(p).unwrap_err().to_string();
        assert!(message(&path).contains("cannot open"), "{}", message(&path));
        save(&path, &sample(), &BTreeMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let got = message(&path);
            assert!(got.contains("w.safetensors") && got.len() < 400, "{got}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let expected = format!("need a file of {} bytes, got {}", whole.len(), whole.len() - 1);
        assert!(message(&path).contains(&expected), "{}", message(&path));
        // a header of 2^60 bytes, a tensor of 2^61 values, and an unknown type
        std::fs::write(&path, (1u64 << 60).to_le_bytes()).unwrap();
        assert!(message(&path).contains("claims 1152921504606846976 bytes"), "{}", message(&path));
        let lie = r#"{"a":{"dtype":"F32","shape":[2305843009213693952],"data_offsets":[0,4]}}"#;
        assert!(load(raw(dir.path(), lie, &[0; 4])).is_err());
        let kind = r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
        let got = message(&raw(dir.path(), kind, &[0; 4]));
        assert!(got.contains("tensor a: expected F32") && got.contains("got F8_E4M3"), "{got}");
        assert!(check(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    }

    #[test]
    fn a_failed_save_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        save(&path, &sample(), &BTreeMap::new()).unwrap();
        let mut wrong = sample();
        wrong.insert("c", HostTensor { shape: vec![3], data: vec![0.0] });
        let message = save(&path, &wrong, &BTreeMap::new()).unwrap_err().to_string();
        assert!(message.contains("tensor c of shape [3]: expected 3 values, got 1"), "{message}");
        assert_eq!(load(&path).unwrap(), sample());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
