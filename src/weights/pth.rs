//! PyTorch checkpoints (`torch.save`): a zip of a pickle and of one file a storage. Read as data; nothing in it is run.

use std::io::{Cursor, Read};
use std::path::Path;

use safetensors::tensor::Dtype;
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Heap, MOST_NAME, TensorView, Value};
use super::safetensors::to_f32;
use super::{Error, HostTensor, Result, Tensors};

/// Bytes of the largest pickle that is looked at: a state_dict of ten thousand tensors takes 2 MB.
const MOST_PICKLE: u64 = 16 << 20;
/// How often all storages may be read on average, by tensors that share them and do not follow each other.
const MOST_READS: usize = 8;
/// Dictionaries within dictionaries.
const MOST_DEPTH: usize = 8;

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

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// One stored (never compressed) file of the archive: what a zip bomb would need is refused.
fn stored(archive: &mut Archive<'_>, name: &str, most: u64) -> std::result::Result<Vec<u8>, String> {
    let mut file = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    if file.compression() != CompressionMethod::Stored {
        return Err(format!("{name}: expected it uncompressed as PyTorch writes it, got {}", file.compression()));
    }
    if file.size() > most {
        return Err(format!("{name}: expected at most {most} bytes, got {}", file.size()));
    }
    let mut bytes = Vec::with_capacity(file.size() as usize);
    file.read_to_end(&mut bytes).map_err(|e| format!("{name}: {e}"))?;
    Ok(bytes)
}

/// Reads every tensor of a checkpoint; a dictionary within a dictionary gives dotted names. Optimiser states are left.
pub(super) fn load(path: &Path, bytes: &[u8]) -> Result<Tensors> {
    let malformed = |reason: String| Error::Malformed { path: path.to_path_buf(), reason };
    // What PyTorch writes begins with the archive; guessing at a start elsewhere misreads some files.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(|e| malformed(e.to_string()))?;
    let names = archive.file_names().filter_map(|n| n.ok().map(|n| n.into_owned()));
    let pickle = names.into_iter().find(|n| n == "data.pkl" || n.ends_with("/data.pkl"));
    let pickle = pickle.ok_or_else(|| malformed("a zip without data.pkl: not made by torch.save".into()))?;
    let root = pickle.trim_end_matches("data.pkl").to_owned();
    let order = format!("{root}byteorder");
    if archive.index_for_name(&order).is_some() {
        let order = stored(&mut archive, &order, 16).map_err(malformed)?;
        if order != b"little" {
            let order = String::from_utf8_lossy(&order).into_owned();
            return Err(malformed(format!("expected little-endian numbers, got {order}")));
        }
    }
    let text = stored(&mut archive, &pickle, MOST_PICKLE.min(bytes.len() as u64)).map_err(malformed)?;
    let (value, heap) = pickle::parse(&text).map_err(malformed)?;
    let mut found = Vec::new();
    // Visits no more than the pickle could name.
    let mut budget = text.len();
    walk(&heap, &value, String::new(), 0, &mut budget, &mut found);
    if found.is_empty() {
        return Err(malformed("it holds no tensors by name".into()));
    }
    let mut storages =
        Storages { archive, root, last: None, elements: bytes.len(), bytes: bytes.len().saturating_mul(MOST_READS) };
    let mut tensors = Tensors::new();
    for (name, view) in found {
        let tensor = storages.tensor(&heap, view).map_err(|reason| Error::Tensor {
            path: path.to_path_buf(),
            tensor: name.clone(),
            expected: "a tensor within its storage".into(),
            got: reason,
        })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
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
    archive: Archive<'a>,
    root: String,
    /// Place in the heap and values of the one read last, which the next tensor often shares.
    last: Option<(usize, Vec<f32>)>,
    /// Elements that tensors may still have.
    elements: usize,
    /// Bytes that may still be read.
    bytes: usize,
}

impl Storages<'_> {
    fn tensor(&mut self, heap: &Heap, view: &TensorView) -> std::result::Result<HostTensor, String> {
        let TensorView { offset, shape, stride, .. } = view;
        let count = self.claim(heap, view)?;
        let data = self.values(heap, view.storage)?;
        let contiguous = shape
            .iter()
            .zip(stride)
            .rev()
            .try_fold(1usize, |next, (len, step)| (*len == 1 || *step == next).then(|| next * len));
        let data = if contiguous.is_some() && count > 0 {
            data[*offset..*offset + count].to_vec()
        } else {
            gather(data, view, count)
        };
        Ok(HostTensor { shape: shape.clone(), data })
    }

    /// The number of elements of a view that lies within its storage.
    fn claim(&mut self, heap: &Heap, view: &TensorView) -> std::result::Result<usize, String> {
        let TensorView { storage, offset, shape, stride } = view;
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
        Ok(count)
    }

    fn values(&mut self, heap: &Heap, at: usize) -> std::result::Result<&[f32], String> {
        let storage = &heap.storages[at];
        let known = self.last.take().filter(|(last, _)| heap.storages[*last] == *storage);
        let values = match known {
            Some((_, values)) => values,
            None => {
                let kind = dtype(&storage.kind).ok_or_else(|| format!("elements of type {}", storage.kind))?;
                let name = format!("{}data/{}", self.root, storage.key);
                let bytes = stored(&mut self.archive, &name, self.bytes as u64)?;
                self.bytes = self.bytes.saturating_sub(bytes.len());
                let values = to_f32(kind, &bytes).ok_or_else(|| format!("elements of type {}", storage.kind))?;
                if values.len() != storage.len {
                    return Err(format!("a storage of {} elements where {} are promised", values.len(), storage.len));
                }
                values
            }
        };
        Ok(&self.last.insert((at, values)).1)
    }
}

/// The elements of a strided view, row-major.
fn gather(data: &[f32], view: &TensorView, count: usize) -> Vec<f32> {
    let at = |mut index: usize| {
        let mut place = view.offset;
        for (len, step) in view.shape.iter().zip(&view.stride).rev() {
            place += index % len * step;
            index /= len;
        }
        data[place]
    };
    (0..count).map(at).collect()
}

#[cfg(test)]
#[path = "pth_tests.rs"]
mod tests;
