//! PyTorch checkpoints (`torch.save`): a zip of a pickle and of one file a storage. Read as data; nothing in it is run.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

use safetensors::tensor::Dtype;
use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::{CompressionMethod, ZipArchive};

use super::lazy::{Bytes, Cursor, Stretch, Values};
use super::pickle::{self, Heap, MOST_NAME, TensorView, Value};
use super::{Error, LazyTensor, Result, Tensors};

/// Bytes of the largest pickle that is looked at: a state_dict of ten thousand tensors takes 2 MB.
const MOST_PICKLE: u64 = 16 << 20;
/// How many times the file's bytes may be read: by storages that overlap, and by views with gaps.
const MOST_READS: u64 = 8;
/// Dictionaries within dictionaries.
const MOST_DEPTH: usize = 8;

/// What to do with TorchScript.
const TORCH_SCRIPT: &str = "a TorchScript program, whose weights lie beside its code; in Python: \
                            torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), NEW)";

fn dtype(kind: &str) -> Option<Dtype> {
    Some(match kind {
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::BF16,
        "Double" => Dtype::F64,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::BOOL,
        _ => return None,
    })
}

type Archive<'a> = ZipArchive<BufReader<Cursor<'a>>>;
type Entry<'a, 'b> = ZipFile<'b, BufReader<Cursor<'a>>>;

/// One stored (never compressed) file of the archive: what a zip bomb would need is refused.
fn entry<'a, 'b>(archive: &'b mut Archive<'a>, name: &str, most: u64) -> std::result::Result<Entry<'a, 'b>, String> {
    let file = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    if file.compression() != CompressionMethod::Stored {
        return Err(format!("{name}: expected it uncompressed as PyTorch writes it, got {}", file.compression()));
    }
    if file.size() > most {
        return Err(format!("{name}: expected at most {most} bytes, got {}", file.size()));
    }
    Ok(file)
}

/// The bytes of a small one.
fn stored(archive: &mut Archive<'_>, name: &str, most: u64) -> std::result::Result<Vec<u8>, String> {
    let mut file = entry(archive, name, most)?;
    let mut bytes = Vec::with_capacity(file.size() as usize);
    file.read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    Ok(bytes)
}

/// Finds every tensor of a checkpoint, whose storages are read through once, for their checksums; a dictionary within a
/// dictionary gives dotted names. Optimiser states are left. Tensors of types without an f32 meaning, expanded ones and
/// foreign objects are named in `passed`.
pub(super) fn load(bytes: &Arc<Bytes>, passed: &mut Vec<String>) -> Result<Tensors<LazyTensor>> {
    let malformed = |reason: String| Error::Malformed { path: bytes.path.clone(), reason };
    // What PyTorch writes begins with the archive; guessing at a start elsewhere misreads some files.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let archive = ZipArchive::with_config(config, BufReader::new(Cursor { bytes, at: 0 }));
    let mut archive = archive.map_err(|e| {
        let size = bytes.len;
        malformed(format!(
            "it begins as a PyTorch checkpoint and has no end ({size} bytes, {e}): cut; download it again"
        ))
    })?;
    let names: Vec<String> = archive.file_names().filter_map(|n| n.ok().map(|n| n.into_owned())).collect();
    if names.iter().any(|name| name == "constants.pkl" || name.ends_with("/constants.pkl")) {
        return Err(malformed(TORCH_SCRIPT.into()));
    }
    let pickle = names.into_iter().find(|n| n == "data.pkl" || n.ends_with("/data.pkl"));
    let pickle = pickle.ok_or_else(|| {
        malformed("a zip archive without data.pkl, not made by torch.save; unpack it and name the file inside".into())
    })?;
    let root = pickle.trim_end_matches("data.pkl").to_owned();
    let order = format!("{root}byteorder");
    if archive.index_for_name(&order).is_some() {
        let order = stored(&mut archive, &order, 16).map_err(malformed)?;
        if order != b"little" {
            let order = String::from_utf8_lossy(&order).into_owned();
            return Err(malformed(format!("expected little-endian numbers, got {order}")));
        }
    }
    let text = stored(&mut archive, &pickle, MOST_PICKLE.min(bytes.len)).map_err(malformed)?;
    let (value, heap) = pickle::parse(&text).map_err(malformed)?;
    let mut found = Vec::new();
    // Visits no more than the pickle could name.
    let mut budget = text.len();
    walk(&heap, &value, String::new(), 0, &mut budget, &mut found);
    if found.is_empty() {
        return Err(malformed(match heap.foreign.first() {
            Some(class) => format!(
                "it holds a whole Python object, {class}, and no tensors by name; nothing of it was run. Where that class \
                 is, save its weights alone: torch.save(model.state_dict(), FILE)"
            ),
            None => "it holds no tensors by name".into(),
        }));
    }
    let mut storages = Storages {
        bytes,
        archive,
        root,
        known: HashMap::new(),
        elements: bytes.len as usize,
        budget: bytes.len.saturating_mul(MOST_READS),
    };
    let mut tensors = Tensors::new();
    passed.extend(heap.foreign.iter().map(|class| format!("an object {class}")));
    let mut unusable = None;
    for (name, view) in found {
        if let Some(reason) = of_no_use(&heap, view) {
            passed.push(format!("{name} ({reason})"));
            unusable.get_or_insert((name, reason));
            continue;
        }
        let tensor = storages.tensor(&heap, view).map_err(|reason| Error::Tensor {
            path: bytes.path.clone(),
            tensor: name.clone(),
            expected: "a tensor within its storage".into(),
            got: reason,
        })?;
        tensors.insert(name, tensor);
    }
    match unusable {
        Some((tensor, got)) if tensors.is_empty() => Err(Error::Tensor {
            path: bytes.path.clone(),
            tensor,
            expected: "a tensor within its storage, of floats, integers or bool".into(),
            got,
        }),
        _ => Ok(tensors),
    }
}

/// Why a tensor is passed over: it has no f32 meaning here, or repeats its elements.
fn of_no_use(heap: &Heap, view: &TensorView) -> Option<String> {
    let kind = view.kind.as_ref().unwrap_or(&heap.storages[view.storage].kind);
    if view.kind.is_some() || dtype(kind).is_none() {
        return Some(format!("elements of type {}", kind.trim_start_matches("torch.")));
    }
    let expanded = view.shape.iter().zip(&view.stride).any(|(len, step)| *len > 1 && *step == 0);
    expanded.then(|| format!("expanded to {:?}", view.shape))
}

/// Tensors by dotted name.
fn walk<'a>(
    heap: &'a Heap,
    value: &Value,
    prefix: String,
    depth: usize,
    budget: &mut usize,
    found: &mut Vec<(String, &'a TensorView)>,
) {
    match value {
        Value::Tensor(at) if !prefix.is_empty() => found.push((prefix, &heap.tensors[*at])),
        Value::Dict(at) if depth < MOST_DEPTH => {
            for (key, value) in &heap.dicts[*at] {
                let Value::Text(key) = key else { continue };
                let key = &heap.texts[*key];
                let long = key.len() > MOST_NAME;
                if *budget == 0 || long || depth == 0 && key.starts_with("optimizer") {
                    continue;
                }
                *budget -= 1;
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                walk(heap, value, name, depth + 1, budget, found);
            }
        }
        _ => {}
    }
}

/// The archive's storages; what is made of them is bounded by the file's size.
struct Storages<'a> {
    bytes: &'a Arc<Bytes>,
    archive: Archive<'a>,
    root: String,
    /// Type, first byte and elements of those seen, by key.
    known: HashMap<String, (Dtype, u64, usize)>,
    /// Elements that tensors may still have.
    elements: usize,
    /// Bytes that may still be read.
    budget: u64,
}

impl Storages<'_> {
    fn tensor(&mut self, heap: &Heap, view: &TensorView) -> std::result::Result<LazyTensor, String> {
        let TensorView { offset, shape, stride, .. } = view;
        let (count, span) = self.claim(heap, view)?;
        let (dtype, start) = self.place(heap, view.storage)?;
        let size = dtype.bitsize() / 8;
        // Of nothing, the offset is not held against the storage.
        let first = if count > 0 { offset * size } else { 0 };
        let from = Stretch { bytes: Arc::clone(self.bytes), dtype, at: start + first as u64 };
        let contiguous = shape
            .iter()
            .zip(stride)
            .rev()
            .try_fold(1usize, |next, (len, step)| (*len == 1 || *step == next).then(|| next * len));
        let values = if contiguous.is_some() || count == 0 {
            Values::Stored(from)
        } else {
            self.spend((span * size) as u64)?;
            Values::Strided { from, shape: shape.clone(), stride: stride.clone() }
        };
        Ok(LazyTensor::new(shape.clone(), values))
    }

    fn spend(&mut self, bytes: u64) -> std::result::Result<(), String> {
        self.budget = self.budget.checked_sub(bytes).ok_or("more bytes to read in all than storages have")?;
        Ok(())
    }

    /// The number of elements of a view that lies within its storage, and of those from its first to its last.
    fn claim(&mut self, heap: &Heap, view: &TensorView) -> std::result::Result<(usize, usize), String> {
        let TensorView { storage, offset, shape, stride, .. } = view;
        let len = heap.storages[*storage].len;
        let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        let span = shape
            .iter()
            .zip(stride)
            .try_fold(0usize, |n, (len, step)| n.checked_add(len.saturating_sub(1).checked_mul(*step)?));
        let (Some(count), Some(span)) = (count, span) else { return Err(format!("a shape of {shape:?}")) };
        let end = offset.checked_add(span).and_then(|last| last.checked_add(1));
        if stride.len() != shape.len() || count > 0 && end.is_none_or(|end| end > len) || count > len {
            return Err(format!("shape {shape:?}, stride {stride:?} at {offset} of a storage of {len} elements"));
        }
        self.elements = self.elements.checked_sub(count).ok_or("more elements in all than the file has bytes")?;
        Ok((count, span + 1))
    }

    /// Type and first byte of a storage, which is read through when it is first seen: its checksum is held against it.
    fn place(&mut self, heap: &Heap, at: usize) -> std::result::Result<(Dtype, u64), String> {
        let storage = &heap.storages[at];
        let kind = dtype(&storage.kind).ok_or_else(|| format!("elements of type {}", storage.kind))?;
        let (known, start, len) = match self.known.get(&storage.key) {
            Some(known) => *known,
            None => {
                let name = format!("{}data/{}", self.root, storage.key);
                let mut file = entry(&mut self.archive, &name, self.budget)?;
                let start = file.data_start().ok_or_else(|| format!("{name}: no place in the file"))?;
                let read = io::copy(&mut file, &mut io::sink()).map_err(|e| format!("{name}: {e}"))?;
                drop(file);
                self.spend(read)?;
                let known = (kind, start, read as usize / (kind.bitsize() / 8));
                self.known.insert(storage.key.clone(), known);
                known
            }
        };
        if known != kind {
            return Err(format!("elements of type {kind:?}, which are {known:?} elsewhere"));
        }
        if len != storage.len {
            return Err(format!("a storage of {len} elements where {} are promised", storage.len));
        }
        Ok((kind, start))
    }
}

#[cfg(test)]
#[path = "pth_tests.rs"]
mod tests;
