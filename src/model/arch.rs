//! The numbers that fix a model's shapes.

use crate::op::patch::Cut;

/// Width and depth of a stack of transformer blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vit {
    /// Channels C.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads H; divides `dim`.
    pub heads: usize,
    /// Hidden channels of the MLP over `dim`.
    pub mlp_ratio: usize,
}

/// How a clip is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Frames of a clip.
    pub frames: usize,
    /// Height and width of a frame in pixels.
    pub size: usize,
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of a token in pixels.
    pub patch: usize,
}

impl Grid {
    /// Tokens along time, height and width.
    pub fn tokens(&self) -> [usize; 3] {
        [self.frames / self.tubelet, self.size / self.patch, self.size / self.patch]
    }

    /// Tokens N of a clip.
    pub fn len(&self) -> usize {
        self.tokens().iter().product()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its tokens in a clip, normalised by ImageNet's colours.
    pub fn cut(&self) -> Cut {
        Cut::new(self.tubelet, self.patch)
    }

    /// Numbers in one token's pixels.
    pub fn patch_len(&self) -> usize {
        3 * self.tubelet * self.patch * self.patch
    }
}
