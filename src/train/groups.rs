//! What the optimiser does to each parameter: weight decay or not, and its share of the learning rate.

use crate::model::encoder;

/// The exceptions of one family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// MVD's student: its mask tokens (`mask_token_img`, `mask_token_vid`) are decayed, for the reference
    /// excepts the exact name `mask_token` only.
    Student,
    /// VideoMAE, and the classifiers: `cls_token`, `mask_token` and positions are not decayed.
    Video,
    /// MAE and ST-MAE: timm's `add_weight_decay` without a list of exceptions, so `cls_token` and `mask_token` are decayed, and
    /// ST-MAE's positions; MAE's table is no parameter.
    Image,
}

/// How fine-tuning scales the learning rate over the depth of a classifier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerDecay {
    /// Factor from one layer to the one below it; 1 for none.
    pub decay: f64,
    /// Blocks of the encoder.
    pub depth: usize,
}

impl LayerDecay {
    /// Layer 0 is the embedding, 1 to `depth` the blocks, `depth + 1` all else (norms after them, head).
    pub fn layer(&self, name: &str) -> usize {
        let of_embedding = ["patch_embed", "pos_embed"].iter().any(|start| name.starts_with(start));
        if ["cls_token", "mask_token"].contains(&name) || of_embedding {
            return 0;
        }
        let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse().ok());
        block.map_or(self.depth + 1, |block: usize| block.saturating_add(1).min(self.depth + 1))
    }

    /// decay^(depth + 1 - layer).
    pub fn scale(&self, name: &str) -> f64 {
        let above = self.depth + 1 - self.layer(name);
        self.decay.powf(above as f64)
    }
}

/// The group of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Whether weight decay applies.
    pub decay: bool,
    /// Factor of the learning rate.
    pub lr_scale: f64,
}

/// The group of the parameter of this name (in the official `state_dict`) and shape.
pub fn group(family: Family, name: &str, shape: &[usize], layers: Option<LayerDecay>) -> Group {
    // The reference asks for exactly one axis; a scalar has none to decay either way.
    let plain = shape.len() <= 1 || name.ends_with(".bias");
    let excepted = match family {
        Family::Student => ["pos_embed", "cls_token"].contains(&name),
        Family::Image => false,
        Family::Video => {
            let last = name.rsplit('.').next().unwrap_or(name);
            ["cls_token", "mask_token"].contains(&last) || last.starts_with("pos_embed")
        }
    };
    Group { decay: !plain && !excepted, lr_scale: layers.map_or(1.0, |layers| layers.scale(name)) }
}

/// The student's groups, as [`crate::model::step::finish`] wants them.
pub fn student(name: &str, shape: &[usize]) -> (f32, bool) {
    (1.0, group(Family::Student, name, shape, None).decay)
}

/// The pixel models' groups.
pub fn pixels(model: encoder::Family) -> impl Fn(&str, &[usize]) -> (f32, bool) {
    let family = if model == encoder::Family::VideoMae { Family::Video } else { Family::Image };
    move |name, shape| (1.0, group(family, name, shape, None).decay)
}

/// A classifier's groups.
pub fn classifier(layers: LayerDecay) -> impl Fn(&str, &[usize]) -> (f32, bool) {
    move |name, shape| {
        let group = group(Family::Video, name, shape, Some(layers));
        (group.lr_scale as f32, group.decay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_decayed() {
        let cases: [(Family, &str, &[usize], bool); 16] = [
            (Family::Student, "blocks.0.attn.qkv.weight", &[144, 48], true),
            (Family::Student, "blocks.0.attn.q_bias", &[48], false),
            (Family::Student, "patch_embed.proj.weight", &[48, 3, 2, 8, 8], true),
            (Family::Student, "norm.weight", &[48], false),
            (Family::Student, "mask_token_img", &[1, 1, 32], true),
            (Family::Video, "mask_token", &[1, 1, 32], false),
            (Family::Video, "cls_token", &[1, 1, 32], false),
            (Family::Video, "encoder.pos_embed", &[1, 8, 32], false),
            (Family::Video, "head.bias", &[2, 2], false),
            (Family::Image, "mask_token", &[1, 1, 32], true),
            (Family::Image, "cls_token", &[1, 1, 32], true),
            (Family::Image, "blocks.0.attn.qkv.bias", &[96], false),
            (Family::Image, "norm.weight", &[32], false),
            (Family::Image, "pos_embed_spatial", &[1, 16, 32], true),
            (Family::Image, "blocks.0.attn.k.bias", &[32], false),
            (Family::Video, "pos_embed_class", &[1, 1, 32], false),
        ];
        for (family, name, shape, expected) in cases {
            let got = group(family, name, shape, None);
            assert_eq!(got, Group { decay: expected, lr_scale: 1.0 }, "{name}");
        }
    }

    #[test]
    fn layers() {
        let layers = LayerDecay { decay: 0.75, depth: 12 };
        for (name, layer) in [
            ("patch_embed.proj.bias", 0),
            ("pos_embed", 0),
            ("pos_embed_temporal", 0),
            ("blocks.0.norm1.weight", 1),
            ("blocks.11.mlp.fc2.bias", 12),
            ("fc_norm.weight", 13),
            ("head.weight", 13),
        ] {
            assert_eq!(layers.layer(name), layer, "{name}");
            assert_eq!(layers.scale(name), 0.75f64.powi(13 - layer as i32), "{name}");
        }
    }

    #[test]
    fn every_model_has_its_familys_groups() {
        assert_eq!(student("mask_token_vid", &[1, 1, 32]), (1.0, true));
        assert_eq!(student("blocks.0.attn.q_bias", &[48]), (1.0, false));
        let token = |model| pixels(model)("mask_token", &[1, 1, 32]);
        assert_eq!((token(encoder::Family::Mae), token(encoder::Family::VideoMae)), ((1.0, true), (1.0, false)));
        let tuned = classifier(LayerDecay { decay: 0.5, depth: 2 });
        assert_eq!(tuned("blocks.1.attn.qkv.weight", &[96, 32]), (0.5, true));
        assert_eq!(tuned("patch_embed.proj.bias", &[32]), (0.125, false));
    }
}
