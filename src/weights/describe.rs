//! What a file's tensors say about its model.

use std::collections::BTreeSet;
use std::fmt;

use super::{TensorSource, Tensors};

/// Which model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// MVD's student with its decoders.
    Student,
    /// VideoMAE, with or without decoder.
    VideoMae,
    /// MAE, with or without decoder.
    Mae,
    /// A video classifier.
    Classifier,
    /// A clip encoder alone.
    Encoder,
}

/// A stack of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
}

/// A model, as far as its tensors tell; heads and grids are not among that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Which model.
    pub kind: Kind,
    /// Before every name of the file (`model.`).
    pub prefix: String,
    /// The encoder.
    pub encoder: Stack,
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of a token.
    pub patch: usize,
    /// The decoder, or each of them.
    pub decoder: Option<Stack>,
    /// Classes.
    pub classes: Option<usize>,
}

impl Kind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Student => "MVD student",
            Kind::VideoMae => "VideoMAE",
            Kind::Mae => "MAE",
            Kind::Classifier => "video classifier",
            Kind::Encoder => "video encoder",
        }
    }
}

/// Heads of the published model of this width; for others, as many as make 64 channels each.
pub fn usual_heads(dim: usize) -> usize {
    match dim {
        1280 => 16,
        _ => (dim / 64).max(1),
    }
}

/// The model that these tensors, under official names, are of.
pub fn describe<T: TensorSource>(tensors: &Tensors<T>) -> Option<Description> {
    const EMBEDDING: &str = "patch_embed.proj.weight";
    let (prefix, kernel, shape) = ["encoder.", ""].iter().find_map(|inner| {
        let full = format!("{inner}{EMBEDDING}");
        let (name, tensor) = tensors.iter().find(|(name, _)| name.ends_with(&full))?;
        let prefix = name.strip_suffix(&full)?.to_owned();
        Some((prefix, *inner, tensor.shape().to_vec()))
    })?;
    let get = |name: &str| tensors.get(&format!("{prefix}{name}"));
    let width = |name: &str| get(name).and_then(|t| t.shape().first().copied());
    let depth = |stack: &str| {
        let full = format!("{prefix}{stack}");
        let indices = tensors.iter().filter_map(|(name, _)| name.strip_prefix(&full)?.split('.').next()?.parse().ok());
        indices.collect::<BTreeSet<usize>>().len()
    };
    let (dim, patch) = (*shape.first()?, *shape.last()?);
    let clips = shape.len() == 5;
    let (kind, decoder) = if kernel == "encoder." {
        let decoder = width("encoder_to_decoder.weight").map(|dim| Stack { dim, depth: depth("decoder.blocks.") });
        (Kind::VideoMae, decoder)
    } else if !clips {
        let decoder = width("decoder_embed.weight").map(|dim| Stack { dim, depth: depth("decoder_blocks.") });
        (Kind::Mae, decoder)
    } else {
        let stack = |name| {
            Some(Stack {
                dim: width(&format!("down_{name}.weight"))?,
                depth: depth(&format!("decoder_{name}.blocks.")),
            })
        };
        match (stack("img").or_else(|| stack("vid")), get("head.weight")) {
            (Some(decoder), _) => (Kind::Student, Some(decoder)),
            (None, Some(_)) => (Kind::Classifier, None),
            (None, None) => (Kind::Encoder, None),
        }
    };
    Some(Description {
        kind,
        encoder: Stack { dim, depth: depth(&format!("{kernel}blocks.")) },
        tubelet: if clips { *shape.get(2)? } else { 1 },
        patch,
        decoder,
        classes: if kind == Kind::Classifier { width("head.weight") } else { None },
        prefix,
    })
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Description { kind, encoder, tubelet, patch, decoder, classes, .. } = self;
        write!(f, "{}: dim {}, depth {}, ", kind.name(), encoder.dim, encoder.depth)?;
        write!(f, "patches of {tubelet} x {patch} x {patch}")?;
        if let Some(decoder) = decoder {
            write!(f, ", decoder dim {}, depth {}", decoder.dim, decoder.depth)?;
        }
        classes.map_or(Ok(()), |classes| write!(f, ", {classes} classes"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::HostTensor;
    use super::*;

    #[test]
    fn models_are_told_by_their_tensors() {
        let of = |names: &[(&str, &[usize])]| {
            let tensor =
                |shape: &[usize]| HostTensor { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] };
            let tensors: Tensors = names.iter().map(|(name, shape)| (name.to_string(), tensor(shape))).collect();
            describe(&tensors).map(|d| d.to_string())
        };
        let clip: (&str, &[usize]) = ("model.patch_embed.proj.weight", &[48, 3, 2, 8, 8]);
        let block: (&str, &[usize]) = ("model.blocks.1.norm1.weight", &[48]);
        assert_eq!(of(&[clip, block]).unwrap(), "video encoder: dim 48, depth 1, patches of 2 x 8 x 8");
        let head: (&str, &[usize]) = ("model.head.weight", &[7, 48]);
        assert!(
            of(&[clip, head]).unwrap().starts_with("video classifier")
                && of(&[clip, head]).unwrap().ends_with("7 classes")
        );
        let down: (&str, &[usize]) = ("model.down_vid.weight", &[32, 48]);
        assert!(of(&[clip, down]).unwrap().ends_with("decoder dim 32, depth 0"));
        assert!(of(&[("patch_embed.proj.weight", &[64, 3, 8, 8])]).unwrap().starts_with("MAE: dim 64, depth 0"));
        let video: (&str, &[usize]) = ("encoder.patch_embed.proj.weight", &[64, 3, 2, 8, 8]);
        assert!(of(&[video]).unwrap().starts_with("VideoMAE"));
        assert_eq!(of(&[("conv.weight", &[1])]), None);
        assert_eq!((usual_heads(384), usual_heads(1024), usual_heads(1280), usual_heads(32)), (6, 16, 16, 1));
    }
}
