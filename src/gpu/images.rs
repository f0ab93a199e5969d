//! Images: copies of tensors in textures, for kernels that read far faster from textures than from buffers.

use std::collections::HashMap;

use super::recorder::{Command, Phase, Recorder};
use super::tensor::{Dtype, Home, Tensor};

/// Texels of an image's row, four numbers each: `texel` in `shaders/shared/image.wgsl`. A tensor fills row after row,
/// whatever its shape, so any image fits any texture that is high enough.
pub(super) const WIDTH: usize = 1024;

/// Rows of an image of that many bytes.
pub(super) fn height(bytes: usize) -> usize {
    bytes.div_ceil(16 * WIDTH)
}

/// The copies that an image of that many bytes is made of, `(first row, texels, rows)`: whole rows, then the rest.
pub(super) fn pieces(bytes: usize) -> impl Iterator<Item = (u32, u32, u32)> {
    let texels = bytes / 16;
    let (rows, rest) = (texels / WIDTH, texels % WIDTH);
    [(0, WIDTH, rows), (rows, rest, 1)]
        .into_iter()
        .filter(|(_, texels, rows)| texels * rows > 0)
        .map(|(first, texels, rows)| (first as u32, texels as u32, rows as u32))
}

/// A copy is kept for this many nodes after its last use; later uses make a new one, so that no image lives from the
/// forward pass to the backward one.
const KEEP: usize = 12;

/// The images recorded so far: a tensor's root to its image and the node that last asked for it.
#[derive(Debug, Default)]
pub(super) struct Images(pub(super) HashMap<Tensor, (Tensor, usize)>);

impl Recorder {
    /// Whether `image` can take the tensor on this adapter.
    pub fn suits_image(&self, tensor: Tensor) -> bool {
        let (len, info) = (self.len(tensor), &self.tensors[tensor.0 as usize]);
        let most = self.caps().images;
        info.dtype == Dtype::F32 && len.is_multiple_of(4) && most.is_some_and(|most| height(4 * len) <= most)
    }

    /// The tensor as a texture of four neighbours a texel, for shaders that import `image`; a copy, shared by uses
    /// close to each other.
    ///
    /// # Panics
    /// If `suits_image` says no, or outside `Phase::Micro`, where weights change: mistakes in an operation.
    pub fn image(&mut self, tensor: Tensor) -> Tensor {
        assert!(self.suits_image(tensor), "image of {}: {:?}", self.name(tensor), self.shape(tensor));
        assert_eq!(self.phase(), Phase::Micro, "image of {}", self.name(tensor));
        let root = match self.tensors[tensor.0 as usize].home {
            Home::View(root) => root,
            _ => tensor,
        };
        let now = self.nodes.len();
        if let Some((image, last)) = self.images.0.get_mut(&root)
            && now - *last <= KEEP
        {
            *last = now;
            return *image;
        }
        let shape = self.shape(tensor).to_vec();
        let image = self.push(self.name(tensor).to_owned(), &shape, Dtype::F32, Home::Image);
        self.node("image", &[tensor], &[image], 0.0, |h| h.outputs[0] = h.inputs[0].to_vec());
        self.command(Command::Image { from: tensor, to: image });
        self.images.0.insert(root, (image, now + 1));
        image
    }
}
