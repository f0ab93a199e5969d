//! Tensors whose values are read, drawn or copied only when asked for, a bounded piece at a time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::Dtype;

use super::error::io_error;
use super::numbers::to_f32;
use super::{Error, HostTensor, Result, Spec, Tensors, init};

/// Values that are handed on at once: 4 MiB of f32.
const PIECE: usize = 1 << 20;

/// A tensor, wherever its values are.
pub trait TensorSource {
    /// Why values cannot be had.
    type Error: From<Error>;

    /// Its shape; empty for a scalar.
    fn shape(&self) -> &[usize];

    /// Hands the values to `take` in their order, a piece at a time.
    ///
    /// # Errors
    /// They cannot be had, or `take` refuses.
    fn read<E: From<Self::Error>>(
        &self,
        take: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E>;

    /// The number of values.
    fn elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// The whole tensor in host memory.
    ///
    /// # Errors
    /// Its values cannot be had.
    fn host(&self) -> std::result::Result<HostTensor, Self::Error> {
        let mut data = Vec::with_capacity(self.elements());
        self.read(|values| {
            data.extend_from_slice(values);
            Ok::<_, Self::Error>(())
        })?;
        Ok(HostTensor { shape: self.shape().to_vec(), data })
    }
}

/// Tensors that can be put together and taken apart along their first axis.
pub trait Stacked: TensorSource<Error = Error> + Clone {
    /// Tensors of one shape, behind each other.
    fn concat(parts: Vec<Self>) -> Self;

    /// As many parts of one shape.
    fn split(&self, parts: usize) -> Vec<Self>;
}

/// The shape of that many tensors of this one behind each other.
fn stacked(shape: &[usize], count: usize) -> Vec<usize> {
    let (first, rest) = shape.split_first().unwrap_or((&1, &[]));
    [first * count].into_iter().chain(rest.iter().copied()).collect()
}

/// The shape of each of so many parts of a tensor, and the values of each.
fn divided(shape: &[usize], parts: usize) -> (Vec<usize>, usize) {
    let (first, rest) = shape.split_first().unwrap_or((&0, &[]));
    let part: Vec<usize> = [first / parts].into_iter().chain(rest.iter().copied()).collect();
    let len = part.iter().product();
    (part, len)
}

impl TensorSource for HostTensor {
    type Error = Error;

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn read<E: From<Error>>(
        &self,
        take: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.data.chunks(PIECE).try_for_each(take)
    }
}

impl Stacked for HostTensor {
    fn concat(parts: Vec<Self>) -> Self {
        let shape = stacked(parts.first().map_or(&[], |part| &part.shape), parts.len());
        HostTensor { shape, data: parts.into_iter().flat_map(|part| part.data).collect() }
    }

    fn split(&self, parts: usize) -> Vec<Self> {
        let (shape, len) = divided(&self.shape, parts);
        let part = |i| HostTensor { shape: shape.clone(), data: self.data[i * len..(i + 1) * len].to_vec() };
        (0..parts).map(part).collect()
    }
}

/// The bytes of a weight file, on the disk or in memory.
#[derive(Debug)]
pub(super) struct Bytes {
    pub path: PathBuf,
    pub len: u64,
    pub content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    File(File),
    Memory(Vec<u8>),
}

impl Bytes {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(io_error("open", path))?;
        let about = file.metadata().map_err(io_error("read", path))?;
        if !about.is_file() {
            return Err(Error::Malformed { path: path.to_path_buf(), reason: "it is not a regular file".into() });
        }
        Ok(Bytes { path: path.to_path_buf(), len: about.len(), content: Content::File(file) })
    }

    pub fn of(path: &Path, bytes: &[u8]) -> Self {
        Bytes { path: path.to_path_buf(), len: bytes.len() as u64, content: Content::Memory(bytes.to_vec()) }
    }

    /// Fills `out` from byte `at` on.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let mut from = Cursor { bytes: self, at };
        from.read_exact(out).map_err(io_error("read", &self.path))
    }
}

/// A place in [`Bytes`] that is read from; it shares no state with others.
pub(super) struct Cursor<'a> {
    pub bytes: &'a Bytes,
    pub at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = match &self.bytes.content {
            #[cfg(unix)]
            Content::File(file) => std::os::unix::fs::FileExt::read_at(file, out, self.at)?,
            #[cfg(windows)]
            Content::File(file) => std::os::windows::fs::FileExt::seek_read(file, out, self.at)?,
            Content::Memory(bytes) => {
                let rest = usize::try_from(self.at).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
                let count = rest.len().min(out.len());
                out[..count].copy_from_slice(&rest[..count]);
                count
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the start"))?;
        Ok(self.at)
    }
}

/// Where the elements of a tensor lie in a file.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub bytes: Arc<Bytes>,
    /// One that `to_f32` knows.
    pub dtype: Dtype,
    /// Byte of the first element.
    pub at: u64,
}

impl Stretch {
    /// Hands on the elements of a range.
    fn read<E: From<Error>>(
        &self,
        range: Range<usize>,
        mut take: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let size = self.dtype.bitsize() / 8;
        let mut bytes = vec![0; range.len().min(PIECE) * size];
        for first in range.clone().step_by(PIECE) {
            let count = (range.end - first).min(PIECE);
            let bytes = &mut bytes[..count * size];
            self.bytes.read_at(self.at + (first * size) as u64, bytes)?;
            take(&to_f32(self.dtype, bytes).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// What the values of a tensor come from.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// A file, one after the other.
    Stored(Stretch),
    /// A file, by a view of this shape and stride.
    Strided { from: Stretch, shape: Vec<usize>, stride: Vec<usize> },
    /// The initialiser with this seed.
    Drawn { spec: Spec, seed: u64 },
    /// Host memory.
    Host(Arc<Vec<f32>>),
}

impl Values {
    fn read<E: From<Error>>(
        &self,
        range: Range<usize>,
        take: &mut impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match self {
            Values::Stored(from) => from.read(range, take),
            Values::Host(data) => data[range].chunks(PIECE).try_for_each(take),
            Values::Drawn { spec, seed } => init::draw(spec, *seed)[range].chunks(PIECE).try_for_each(take),
            Values::Strided { from, shape, stride } => {
                let span = shape.iter().zip(stride).map(|(len, step)| len.saturating_sub(1) * step).sum::<usize>() + 1;
                let mut data = Vec::with_capacity(span);
                from.read(0..span, |values| {
                    data.extend_from_slice(values);
                    Ok::<_, E>(())
                })?;
                let at = |mut index: usize| {
                    let mut place = 0;
                    for (len, step) in shape.iter().zip(stride).rev() {
                        place += index % len * step;
                        index /= len;
                    }
                    data[place]
                };
                let gathered: Vec<f32> = range.map(at).collect();
                gathered.chunks(PIECE).try_for_each(take)
            }
        }
    }
}

/// A tensor of which only the shape is in memory.
#[derive(Debug, Clone)]
pub struct LazyTensor {
    shape: Vec<usize>,
    /// Ranges of values, one after the other.
    parts: Vec<(Values, Range<usize>)>,
}

impl LazyTensor {
    /// `values` has as many as the shape says.
    pub(super) fn new(shape: Vec<usize>, values: Values) -> Self {
        let len = shape.iter().product();
        LazyTensor { shape, parts: vec![(values, 0..len)] }
    }

    /// What the initialiser makes of a spec.
    pub(super) fn drawn(spec: &Spec, seed: u64) -> Self {
        Self::new(spec.shape.clone(), Values::Drawn { spec: spec.clone(), seed })
    }
}

impl From<HostTensor> for LazyTensor {
    fn from(tensor: HostTensor) -> Self {
        let range = 0..tensor.data.len();
        LazyTensor { shape: tensor.shape, parts: vec![(Values::Host(Arc::new(tensor.data)), range)] }
    }
}

impl TensorSource for LazyTensor {
    type Error = Error;

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn read<E: From<Error>>(
        &self,
        mut take: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut parts = self.parts.iter().filter(|(_, range)| !range.is_empty());
        parts.try_for_each(|(values, range)| values.read(range.clone(), &mut take))
    }
}

impl Stacked for LazyTensor {
    fn concat(parts: Vec<Self>) -> Self {
        let shape = stacked(parts.first().map_or(&[], |part| &part.shape), parts.len());
        LazyTensor { shape, parts: parts.into_iter().flat_map(|part| part.parts).collect() }
    }

    fn split(&self, parts: usize) -> Vec<Self> {
        let (shape, len) = divided(&self.shape, parts);
        let part = |i: usize| {
            let (first, end) = (i * len, (i + 1) * len);
            let mut before = 0;
            let within = self.parts.iter().map(|(values, range)| {
                let begin = before;
                before += range.len();
                let of = |at: usize| range.start + at.clamp(begin, before) - begin;
                (values.clone(), of(first)..of(end))
            });
            let parts = within.filter(|(_, range)| !range.is_empty()).collect();
            LazyTensor { shape: shape.clone(), parts }
        };
        (0..parts).map(part).collect()
    }
}

impl Tensors<LazyTensor> {
    /// All of them in host memory.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn host(&self) -> Result<Tensors> {
        self.iter().map(|(name, tensor)| Ok((name.to_owned(), tensor.host()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Init;
    use super::*;

    fn counted(shape: &[usize]) -> HostTensor {
        HostTensor { shape: shape.to_vec(), data: (0..shape.iter().product()).map(|i: usize| i as f32).collect() }
    }

    /// More than a piece of f32 in a file, from its third element on.
    fn stored(dir: &Path) -> (HostTensor, LazyTensor) {
        let whole = counted(&[3, PIECE / 2 + 1]);
        let path = dir.join("values");
        let bytes: Vec<u8> = [7.0, 8.0].iter().chain(&whole.data).flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(&path, bytes).unwrap();
        let from = Stretch { bytes: Arc::new(Bytes::open(&path).unwrap()), dtype: Dtype::F32, at: 8 };
        let lazy = LazyTensor::new(whole.shape.clone(), Values::Stored(from));
        (whole, lazy)
    }

    #[test]
    fn values_come_in_pieces_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, lazy) = stored(dir.path());
        assert_eq!(lazy.host().unwrap(), whole);
        let mut sizes = Vec::new();
        lazy.read(|values| {
            sizes.push(values.len());
            Ok::<_, Error>(())
        })
        .unwrap();
        assert_eq!(sizes, [PIECE, PIECE / 2 + 3]);
        let refused = lazy.read(|_| Err(Error::Malformed { path: "x".into(), reason: "enough".into() }));
        assert!(refused.unwrap_err().to_string().contains("enough"));
    }

    #[test]
    fn a_file_that_is_cut_meanwhile_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (_, lazy) = stored(dir.path());
        File::options().write(true).open(dir.path().join("values")).unwrap().set_len(100).unwrap();
        let text = lazy.host().unwrap_err().to_string();
        assert!(text.contains("cannot read") && text.contains("values"), "{text}");
    }

    #[test]
    fn parts_and_wholes() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, lazy) = stored(dir.path());
        let parts = lazy.split(3);
        let expected = whole.split(3);
        for (part, expected) in parts.iter().zip(&expected) {
            assert_eq!(&part.host().unwrap(), expected);
        }
        assert_eq!(HostTensor::concat(expected), whole);
        let again = LazyTensor::concat(parts);
        assert_eq!(again.host().unwrap(), whole);
        // A part of several ranges.
        let two = LazyTensor::concat(vec![again.clone(), again]);
        assert_eq!(two.split(2)[1].host().unwrap(), whole);
        assert_eq!(two.shape(), [6, whole.shape[1]]);
    }

    #[test]
    fn what_is_drawn_is_what_is_made() {
        let spec = Spec::new("a.weight", [33, 7], Init::Xavier);
        let made = init::init(std::slice::from_ref(&spec), 5);
        assert_eq!(LazyTensor::drawn(&spec, 5).host().unwrap(), *made.get("a.weight").unwrap());
        assert_eq!(LazyTensor::from(counted(&[2, 3])).host().unwrap(), counted(&[2, 3]));
    }
}
