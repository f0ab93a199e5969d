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
    /// ST-MAE, with or without decoder.
    StMae,
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
    /// Moments and places of ST-MAE's learned position tables.
    pub learned: Option<[usize; 2]>,
}

impl Description {
    /// What stands before the encoder's names.
    pub fn inner(&self) -> &'static str {
        if self.kind == Kind::VideoMae { "encoder." } else { "" }
    }
}

impl Kind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Student => "MVD student",
            Kind::VideoMae => "VideoMAE",
            Kind::Mae => "MAE",
            Kind::StMae => "ST-MAE",
            Kind::Classifier => "video classifier",
            Kind::Encoder => "video encoder",
        }
    }

    /// Its name with the article: an MAE, a VideoMAE.
    pub fn an(self) -> String {
        let article = match self {
            Kind::Student | Kind::Mae | Kind::StMae => "an",
            Kind::VideoMae | Kind::Classifier | Kind::Encoder => "a",
        };
        format!("{article} {}", self.name())
    }
}

/// Heads of the published model of this width, if there is one.
pub fn published_heads(dim: usize) -> Option<usize> {
    match dim {
        384 => Some(6),
        768 => Some(12),
        1024 | 1280 => Some(16),
        _ => None,
    }
}

/// The model that these tensors, under official names, are of.
pub fn describe<T: TensorSource>(tensors: &Tensors<T>) -> Option<Description> {
    const EMBEDDING: &str = "patch_embed.proj.weight";
    let (inner, shape) = ["encoder.", ""].iter().find_map(|inner| {
        let tensor = tensors.get(&format!("{inner}{EMBEDDING}"))?;
        Some((*inner, tensor.shape().to_vec()))
    })?;
    let get = |name: &str| tensors.get(name);
    let width = |name: &str| get(name).and_then(|t| t.shape().first().copied());
    let depth = |stack: &str| {
        let indices = tensors.iter().filter_map(|(name, _)| name.strip_prefix(stack)?.split('.').next()?.parse().ok());
        indices.collect::<BTreeSet<usize>>().len()
    };
    let (dim, patch) = (*shape.first()?, *shape.last()?);
    let clips = shape.len() == 5;
    let rows = |name: &str| get(name).and_then(|t| t.shape().get(1).copied());
    let learned = rows("pos_embed_temporal").zip(rows("pos_embed_spatial")).map(|(times, places)| [times, places]);
    let embedded = || width("decoder_embed.weight").map(|dim| Stack { dim, depth: depth("decoder_blocks.") });
    let (kind, decoder) = if inner == "encoder." {
        let decoder = width("encoder_to_decoder.weight").map(|dim| Stack { dim, depth: depth("decoder.blocks.") });
        (Kind::VideoMae, decoder)
    } else if !clips {
        (Kind::Mae, embedded())
    } else if learned.is_some() && get("head.weight").is_none() {
        (Kind::StMae, embedded())
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
        encoder: Stack { dim, depth: depth(&format!("{inner}blocks.")) },
        tubelet: if clips { *shape.get(2)? } else { 1 },
        patch,
        decoder,
        classes: if kind == Kind::Classifier { width("head.weight") } else { None },
        learned: learned.filter(|_| clips && inner.is_empty()),
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
        let clip: (&str, &[usize]) = ("patch_embed.proj.weight", &[48, 3, 2, 8, 8]);
        let block: (&str, &[usize]) = ("blocks.1.norm1.weight", &[48]);
        assert_eq!(of(&[clip, block]).unwrap(), "video encoder: dim 48, depth 1, patches of 2 x 8 x 8");
        let head: (&str, &[usize]) = ("head.weight", &[7, 48]);
        assert!(
            of(&[clip, head]).unwrap().starts_with("video classifier")
                && of(&[clip, head]).unwrap().ends_with("7 classes")
        );
        let down: (&str, &[usize]) = ("down_vid.weight", &[32, 48]);
        assert!(of(&[clip, down]).unwrap().ends_with("decoder dim 32, depth 0"));
        assert!(of(&[("patch_embed.proj.weight", &[64, 3, 8, 8])]).unwrap().starts_with("MAE: dim 64, depth 0"));
        let video: (&str, &[usize]) = ("encoder.patch_embed.proj.weight", &[64, 3, 2, 8, 8]);
        assert!(of(&[video]).unwrap().starts_with("VideoMAE"));
        let learned: [(&str, &[usize]); 2] = [("pos_embed_spatial", &[1, 9, 48]), ("pos_embed_temporal", &[1, 4, 48])];
        let pretrained = [&[clip, ("decoder_embed.weight", &[32, 48])], &learned[..]].concat();
        assert_eq!(of(&pretrained).unwrap(), "ST-MAE: dim 48, depth 0, patches of 2 x 8 x 8, decoder dim 32, depth 0");
        assert!(of(&[&[clip, head], &learned[..]].concat()).unwrap().starts_with("video classifier"));
        assert_eq!(of(&[("conv.weight", &[1])]), None);
        assert_eq!([384, 1024, 1280, 64].map(published_heads), [Some(6), Some(16), Some(16), None]);
    }
}
