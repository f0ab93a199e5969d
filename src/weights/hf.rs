//! Hugging Face's names (`ViTMAE*`, `VideoMAE*`) to the official ones and back.

use super::{Error, Result, Stacked, Tensors};

/// Whose names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `ViTMAEForPreTraining` and `ViTMAEModel`.
    Mae,
    /// `VideoMAEForPreTraining` and `VideoMAEModel`.
    VideoMae,
    /// `VideoMAEForVideoClassification`.
    Classifier,
}

/// `(official, Hugging Face)` within a block.
const BLOCK: [(&str, &str); 5] = [
    ("attn.proj.", "attention.output.dense."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
];

/// The three parts of a qkv layer.
const PARTS: [&str; 3] = ["query", "key", "value"];

/// `(official, Hugging Face)` prefixes outside of blocks, and of stacks of blocks.
struct Names {
    plain: &'static [(&'static str, &'static str)],
    stacks: &'static [(&'static str, &'static str)],
}

fn names(model: Model) -> Names {
    match model {
        Model::Mae => Names {
            plain: &[
                ("cls_token", "vit.embeddings.cls_token"),
                ("pos_embed", "vit.embeddings.position_embeddings"),
                ("patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
                ("norm.", "vit.layernorm."),
                ("decoder_embed.", "decoder.decoder_embed."),
                ("decoder_pos_embed", "decoder.decoder_pos_embed"),
                ("mask_token", "decoder.mask_token"),
                ("decoder_norm.", "decoder.decoder_norm."),
                ("decoder_pred.", "decoder.decoder_pred."),
            ],
            stacks: &[
                ("blocks.", "vit.encoder.layer."),
                ("decoder_blocks.", "decoder.decoder_layers."),
                // transformers 5 moved them.
                ("decoder_blocks.", "decoder.decoder_encoder.layer."),
            ],
        },
        Model::VideoMae => Names {
            plain: &[
                ("encoder.patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection."),
                ("encoder.norm.", "videomae.layernorm."),
                ("encoder_to_decoder.", "encoder_to_decoder."),
                ("mask_token", "mask_token"),
                ("decoder.norm.", "decoder.norm."),
                ("decoder.head.", "decoder.head."),
            ],
            stacks: &[("encoder.blocks.", "videomae.encoder.layer."), ("decoder.blocks.", "decoder.decoder_layers.")],
        },
        Model::Classifier => Names {
            plain: &[
                ("patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection."),
                ("fc_norm.", "fc_norm."),
                ("norm.", "videomae.layernorm."),
                ("head.", "classifier."),
            ],
            stacks: &[("blocks.", "videomae.encoder.layer.")],
        },
    }
}

/// Whose names these are; none if they are not Hugging Face's. Bare `*Model` files lack the first prefix.
pub(super) fn recognise<T>(tensors: &Tensors<T>) -> Option<(Model, &'static str)> {
    let has = |name: &str| tensors.get(name).is_some();
    let patches = "embeddings.patch_embeddings.projection.weight";
    if has("classifier.weight") && has(&format!("videomae.{patches}")) {
        return Some((Model::Classifier, ""));
    }
    for (model, prefix) in [(Model::Mae, "vit."), (Model::VideoMae, "videomae.")] {
        if has(&format!("{prefix}{patches}")) {
            return Some((model, ""));
        }
    }
    if !has(patches) {
        return None;
    }
    Some(if has("embeddings.cls_token") { (Model::Mae, "vit.") } else { (Model::VideoMae, "videomae.") })
}

/// Renames by the longest fitting prefix.
fn renamed(name: &str, pairs: impl Iterator<Item = (&'static str, &'static str)>) -> Option<String> {
    let fitting = pairs.filter_map(|(from, to)| Some((to, name.strip_prefix(from)?)));
    fitting.min_by_key(|(_, rest)| rest.len()).map(|(to, rest)| format!("{to}{rest}"))
}

/// A file's tensors under official names; those of others pass as they are.
///
/// # Errors
/// Queries, keys and values that do not fit each other.
pub(super) fn to_official<T: Stacked>(found: Tensors<T>, file: &std::path::Path) -> Result<Tensors<T>> {
    let Some((model, bare)) = recognise(&found) else { return Ok(found) };
    let Names { plain, stacks } = names(model);
    let mut official = Tensors::new();
    let mut parts = Tensors::new();
    for (name, tensor) in found {
        let full = format!("{bare}{name}");
        let block = stacks.iter().find_map(|(ours, theirs)| {
            let (index, rest) = full.strip_prefix(theirs)?.split_once('.')?;
            Some((format!("{ours}{index}."), rest.to_owned()))
        });
        let new = match block {
            Some((block, rest)) => match rest.strip_prefix("attention.attention.") {
                Some(bias @ ("q_bias" | "v_bias")) => format!("{block}attn.{bias}"),
                // transformers 5 has them so. A bias of the keys adds the same to all scores of a query: no part of the model.
                Some("query.bias") if model != Model::Mae => format!("{block}attn.q_bias"),
                Some("value.bias") if model != Model::Mae => format!("{block}attn.v_bias"),
                Some("key.bias") if model != Model::Mae => continue,
                Some(part) => {
                    parts.insert(format!("{block}attn.{part}"), tensor);
                    continue;
                }
                None => {
                    let inside = renamed(&rest, BLOCK.iter().map(|(ours, theirs)| (*theirs, *ours)));
                    format!("{block}{}", inside.unwrap_or(rest))
                }
            },
            None => renamed(&full, plain.iter().map(|(ours, theirs)| (*theirs, *ours))).unwrap_or(full),
        };
        official.insert(new, tensor);
    }
    join(parts, &mut official, file)?;
    Ok(official)
}

/// Queries, keys and values become one qkv tensor; what is incomplete keeps its names.
fn join<T: Stacked>(mut parts: Tensors<T>, official: &mut Tensors<T>, file: &std::path::Path) -> Result<()> {
    let of = |name: &str, part: &str| name.strip_suffix(part).map(str::to_owned);
    for kind in ["weight", "bias"] {
        let query = format!("query.{kind}");
        let stems: Vec<String> = parts.iter().filter_map(|(name, _)| of(name, &query)).collect();
        for stem in stems {
            let names = PARTS.map(|part| format!("{stem}{part}.{kind}"));
            if names.iter().any(|name| parts.get(name).is_none()) {
                continue;
            }
            let three: Vec<T> = names.iter().filter_map(|name| parts.remove(name)).collect();
            let shape = three[0].shape();
            if let Some(other) = three.iter().find(|other| other.shape() != shape) {
                return Err(Error::Tensor {
                    path: file.to_path_buf(),
                    tensor: format!("{stem}*.{kind}"),
                    expected: format!("queries, keys and values of one shape, {shape:?}"),
                    got: format!("{:?}", other.shape()),
                });
            }
            official.insert(format!("{stem}qkv.{kind}"), T::concat(three));
        }
    }
    for (name, tensor) in parts {
        official.insert(name, tensor);
    }
    Ok(())
}

/// Official tensors of a model under Hugging Face's names.
pub fn from_official<T: Stacked>(tensors: &Tensors<T>, model: Model) -> Tensors<T> {
    let Names { plain, stacks } = names(model);
    let mut out = Tensors::new();
    for (name, tensor) in tensors.iter() {
        let block = stacks.iter().find_map(|(ours, theirs)| {
            let (index, rest) = name.strip_prefix(ours)?.split_once('.')?;
            index.parse::<usize>().ok()?;
            Some((format!("{theirs}{index}."), rest))
        });
        let Some((block, rest)) = block else {
            let new = renamed(name, plain.iter().copied()).unwrap_or_else(|| name.to_owned());
            out.insert(new, tensor.clone());
            continue;
        };
        if let Some(kind) = rest.strip_prefix("attn.qkv.") {
            for (part, third) in PARTS.iter().zip(tensor.split(PARTS.len())) {
                out.insert(format!("{block}attention.attention.{part}.{kind}"), third);
            }
        } else if let Some(bias @ ("q_bias" | "v_bias")) = rest.strip_prefix("attn.") {
            out.insert(format!("{block}attention.attention.{bias}"), tensor.clone());
        } else {
            let inside = renamed(rest, BLOCK.iter().copied()).unwrap_or_else(|| rest.to_owned());
            out.insert(format!("{block}{inside}"), tensor.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::HostTensor;
    use super::*;
    use std::path::Path;

    fn sample(names: &[&str]) -> Tensors {
        let numbered = names.iter().enumerate();
        numbered
            .map(|(i, name)| (name.to_string(), HostTensor { shape: vec![3, 1], data: vec![i as f32; 3] }))
            .collect()
    }

    #[test]
    fn official_names_come_back() {
        let mae = sample(&[
            "cls_token",
            "patch_embed.proj.weight",
            "blocks.0.attn.qkv.weight",
            "blocks.0.attn.qkv.bias",
            "blocks.11.mlp.fc2.bias",
            "blocks.0.norm1.weight",
            "norm.bias",
            "decoder_embed.weight",
            "mask_token",
            "decoder_blocks.3.attn.proj.weight",
            "decoder_norm.weight",
            "decoder_pred.bias",
        ]);
        let video = sample(&[
            "encoder.patch_embed.proj.weight",
            "encoder.blocks.2.attn.q_bias",
            "encoder.blocks.2.attn.qkv.weight",
            "encoder.blocks.2.mlp.fc1.weight",
            "encoder_to_decoder.weight",
            "decoder.blocks.0.norm2.bias",
            "decoder.head.bias",
        ]);
        let classifier = sample(&[
            "patch_embed.proj.weight",
            "blocks.1.attn.v_bias",
            "blocks.1.attn.proj.bias",
            "fc_norm.weight",
            "head.weight",
        ]);
        for (model, tensors) in [(Model::Mae, mae), (Model::VideoMae, video), (Model::Classifier, classifier)] {
            let theirs = from_official(&tensors, model);
            assert!(theirs.iter().all(|(name, _)| !name.contains("blocks") && !name.contains("qkv")), "{theirs:?}");
            assert_eq!(to_official(theirs, Path::new("f")).unwrap(), tensors, "{model:?}");
        }
    }

    #[test]
    fn bare_models_and_strangers() {
        let theirs = sample(&["embeddings.patch_embeddings.projection.weight", "encoder.layer.0.layernorm_after.bias"]);
        let got = to_official(theirs, Path::new("f")).unwrap();
        assert!(
            got.get("encoder.patch_embed.proj.weight").is_some() && got.get("encoder.blocks.0.norm2.bias").is_some()
        );
        let newer = sample(&[
            "videomae.embeddings.patch_embeddings.projection.weight",
            "videomae.encoder.layer.0.attention.attention.query.bias",
            "videomae.encoder.layer.0.attention.attention.key.bias",
            "videomae.encoder.layer.0.attention.attention.value.bias",
        ]);
        let got = to_official(newer, Path::new("f")).unwrap();
        let names: Vec<&str> = got.iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["encoder.blocks.0.attn.q_bias", "encoder.blocks.0.attn.v_bias", "encoder.patch_embed.proj.weight"]
        );
        let strangers = sample(&["a.b", "conv.weight"]);
        assert_eq!(to_official(strangers.clone(), Path::new("f")).unwrap(), strangers);
    }
}
