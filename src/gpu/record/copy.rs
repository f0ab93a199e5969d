//! Copies of tensors for matrix products and attention: in textures, which lavapipe reads several times faster than buffers, and rounded to f16.

use super::copies::height;
use super::node::{Command, Phase};
use super::recorder::{Recorder, grid};
use super::tensor::{Dtype, Home, Tensor, root};

impl Recorder {
    /// Whether `image` can take the tensor on this adapter.
    pub fn suits_image(&self, tensor: Tensor) -> bool {
        self.dtype(tensor) == Dtype::F32 && self.fits_image(self.len(tensor))
    }

    /// Whether an image can hold so many numbers on this adapter.
    pub fn fits_image(&self, len: usize) -> bool {
        len.is_multiple_of(4) && self.caps().images.is_some_and(|most| height(4 * len) <= most)
    }

    /// A tensor that nodes write and read as a texture alone, within a step.
    pub fn transient_image(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.push(name, shape, Dtype::F32, Home::Image)
    }

    /// Whether a tensor is a texture and nothing else.
    pub fn is_image(&self, tensor: Tensor) -> bool {
        self.tensors[tensor.0 as usize].home == Home::Image
    }

    /// The tensor as a texture of four neighbours a texel, for shaders that import `image`: itself if it is one, else a
    /// copy, shared by uses close to each other.
    ///
    /// # Panics
    /// If `suits_image` says no, or outside `Phase::Micro`, where weights change: mistakes in an operation.
    pub fn image(&mut self, tensor: Tensor) -> Tensor {
        if self.is_image(tensor) {
            return tensor;
        }
        assert!(self.suits_image(tensor), "image of {}: {:?}", self.name(tensor), self.shape(tensor));
        assert_eq!(self.phase(), Phase::Micro, "image of {}", self.name(tensor));
        let (root, now) = (root(&self.tensors, tensor), self.nodes.len());
        if let Some(image) = self.images.recent(root, now) {
            return image;
        }
        let shape = self.shape(tensor).to_vec();
        let image = self.push(self.name(tensor).to_owned(), &shape, Dtype::F32, Home::Image);
        self.node("image", &[tensor], &[image], 0.0, |h| h.outputs[0] = h.inputs[0].to_vec());
        self.command(Command::Image { from: tensor, to: image });
        self.images.0.insert(root, (image, now + 1));
        image
    }

    /// A tensor of f16 that nodes write and read within a step.
    pub fn transient_half(&mut self, name: impl Into<String>, shape: &[usize]) -> Tensor {
        self.push(name, shape, Dtype::F16, Home::Transient)
    }

    /// The tensor rounded to f16, for kernels that multiply f16: a copy, shared by uses close to each other.
    ///
    /// # Panics
    /// If its elements are no multiple of four f32, or outside `Phase::Micro`, where weights change: mistakes in an operation.
    pub fn half(&mut self, tensor: Tensor) -> Tensor {
        assert!(
            self.dtype(tensor) == Dtype::F32 && self.len(tensor).is_multiple_of(4),
            "half of {}",
            self.name(tensor)
        );
        assert_eq!(self.phase(), Phase::Micro, "half of {}", self.name(tensor));
        let (root, now) = (root(&self.tensors, tensor), self.nodes.len());
        if let Some(half) = self.halves.recent(root, now) {
            return half;
        }
        let (shape, len) = (self.shape(tensor).to_vec(), self.len(tensor));
        let half = self.push(self.name(tensor).to_owned(), &shape, Dtype::F16, Home::Transient);
        self.node("half", &[tensor], &[half], 0.0, |h| {
            let rounded = h.inputs[0].iter().map(|&x| half::f16::from_f64(x).to_f64());
            h.outputs[0] = rounded.collect();
        });
        let dispatch = self.dispatch("half", "to_half").bind("x", tensor).bind("y", half);
        dispatch.u32("quads", len / 4).groups(grid((len / 4).div_ceil(256)));
        self.halves.0.insert(root, (half, now + 1));
        half
    }
}
