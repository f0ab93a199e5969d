//! How images lie in textures, and which copies of tensors a recording has made.

use std::collections::HashMap;

use super::tensor::Tensor;

/// Texels of an image's row, four numbers each: `texel` in `shaders/shared/image.wgsl`. A tensor fills row after row,
/// whatever its shape, so any image fits any texture that is high enough.
pub(in crate::gpu) const WIDTH: usize = 1024;

/// Texels at the end of each row that hold nothing: where textures lie in memory row by row, as on lavapipe, matrices
/// whose rows are a multiple of 2 KiB would put the same column of all rows in the same few sets of the cache.
pub(in crate::gpu) const GAP: usize = 4;

/// Rows of an image of that many bytes.
pub(in crate::gpu) fn height(bytes: usize) -> usize {
    bytes.div_ceil(16 * WIDTH)
}

/// The copies that an image of that many bytes is made of, `(first row, texels, rows)`: whole rows, then the rest.
pub(in crate::gpu) fn pieces(bytes: usize) -> impl Iterator<Item = (u32, u32, u32)> {
    let texels = bytes / 16;
    let (rows, rest) = (texels / WIDTH, texels % WIDTH);
    [(0, WIDTH, rows), (rows, rest, 1)]
        .into_iter()
        .filter(|(_, texels, rows)| texels * rows > 0)
        .map(|(first, texels, rows)| (first as u32, texels as u32, rows as u32))
}

/// A copy is kept for this many nodes after its last use; later uses make a new one, so that no copy lives from the
/// forward pass to the backward one.
const KEEP: usize = 12;

/// Copies of tensors recorded so far, of one kind: a tensor's root to its copy and the node that last asked for it.
#[derive(Debug, Default)]
pub(in crate::gpu) struct Copies(pub(in crate::gpu) HashMap<Tensor, (Tensor, usize)>);

impl Copies {
    /// A copy made not long before node `now`.
    pub fn recent(&mut self, root: Tensor, now: usize) -> Option<Tensor> {
        let (copy, last) = self.0.get_mut(&root).filter(|(_, last)| now - *last <= KEEP)?;
        *last = now;
        Some(*copy)
    }
}
