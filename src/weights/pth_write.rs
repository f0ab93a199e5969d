//! PyTorch checkpoints out: `{'model': {name: tensor}}`, as `torch.load(weights_only=True)` reads them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::error::io_error;
use super::safetensors::replace;
use super::{Error, Result, TensorSource, Tensors};

/// Dictionary that holds the tensors.
const KEY: &str = "model";

/// Writes a PyTorch checkpoint: f32, tensors sorted by name. It is written aside and renamed, as [`super::save`] does.
///
/// # Errors
/// The file cannot be written.
pub fn save_pth<T: TensorSource<Error = Error>>(path: impl AsRef<Path>, tensors: &Tensors<T>) -> Result<()> {
    replace(path.as_ref(), |aside| {
        let file = File::create(aside).map_err(io_error("create", aside))?;
        let mut zip = ZipWriter::new(BufWriter::with_capacity(1 << 20, file));
        archive(&mut zip, aside, tensors)?;
        let written = zip.finish().map_err(io::Error::from).map_err(io_error("write", aside))?;
        let file = written.into_inner().map_err(|e| e.into_error());
        file.and_then(|file| file.sync_all()).map_err(io_error("write", aside))
    })
}

fn archive<W: Write + io::Seek, T: TensorSource<Error = Error>>(
    zip: &mut ZipWriter<W>,
    path: &Path,
    tensors: &Tensors<T>,
) -> Result<()> {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    // PyTorch maps storages, which it aligns to 64 bytes.
    let start = |zip: &mut ZipWriter<W>, name: &str, len: usize| {
        let options = stored.with_alignment(64).large_file(len >= u32::MAX as usize);
        zip.start_file(format!("archive/{name}"), options).map_err(io::Error::from).map_err(io_error("write", path))
    };
    let write = |zip: &mut ZipWriter<W>, bytes: &[u8]| zip.write_all(bytes).map_err(io_error("write", path));
    let pickle = pickle(tensors);
    for (name, bytes) in [("data.pkl", pickle.as_slice()), ("byteorder", b"little"), ("version", b"3\n")] {
        start(zip, name, bytes.len())?;
        write(zip, bytes)?;
    }
    for (index, (_, tensor)) in tensors.iter().enumerate() {
        start(zip, &format!("data/{index}"), 4 * tensor.elements())?;
        tensor.read(|values| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            write(zip, &bytes)
        })?;
    }
    Ok(())
}

/// `{'model': {name: tensor}}` in protocol 2.
fn pickle<T: TensorSource>(tensors: &Tensors<T>) -> Vec<u8> {
    let mut out = b"\x80\x02}".to_vec();
    text(&mut out, KEY);
    out.extend(b"}(");
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut out, name);
        rebuild(&mut out, index, tensor.shape());
    }
    out.extend(b"us.");
    out
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'X');
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.as_bytes());
}

fn number(out: &mut Vec<u8>, value: usize) {
    match i32::try_from(value) {
        Ok(value) => {
            out.push(b'J');
            out.extend(value.to_le_bytes());
        }
        Err(_) => {
            out.extend(b"\x8a\x08");
            out.extend((value as u64).to_le_bytes());
        }
    }
}

fn tuple(out: &mut Vec<u8>, values: &[usize]) {
    out.push(b'(');
    values.iter().for_each(|value| number(out, *value));
    out.push(b't');
}

/// `torch._utils._rebuild_tensor_v2(('storage', FloatStorage, key, 'cpu', len), 0, shape, stride, False, OrderedDict())`
fn rebuild(out: &mut Vec<u8>, index: usize, shape: &[usize]) {
    out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(out, "storage");
    out.extend(b"ctorch\nFloatStorage\n");
    text(out, &index.to_string());
    text(out, "cpu");
    number(out, shape.iter().product());
    out.extend(b"tQ");
    number(out, 0);
    let stride: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product::<usize>().max(1)).collect();
    tuple(out, shape);
    tuple(out, &stride);
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

#[cfg(test)]
mod tests {
    use super::super::{Copies, HostTensor, load, open_model};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.pth");
        let tensor = |shape: &[usize]| HostTensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product()).map(|i| i as f32 - 1.5).collect(),
        };
        let tensors: Tensors =
            [("patch_embed.proj.weight", &[2, 3, 2, 4, 4][..]), ("blocks.0.norm1.bias", &[2]), ("s", &[])]
                .map(|(name, shape)| (name.to_owned(), tensor(shape)))
                .into_iter()
                .collect();
        save_pth(&path, &tensors).unwrap();
        let (found, origin) = open_model(&path, Copies::Plain).unwrap();
        let found = found.host().unwrap();
        assert_eq!((found, origin.prefix.as_str(), origin.format), (tensors.clone(), "model.", "PyTorch checkpoint"));
        assert_eq!(load(&path).unwrap().get("model.s"), tensors.get("s"));
        let mut zip = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        for index in 0..tensors.len() {
            let at = zip.by_name(&format!("archive/data/{index}")).unwrap().data_start();
            assert!(at.is_some_and(|at| at.is_multiple_of(64)), "storage {index} at {at:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
