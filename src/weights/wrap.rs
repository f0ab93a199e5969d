//! What programs put before a model's names, in any nesting: `model.`, `module.`, `_orig_mod.`, `state_dict.`, `net.`,
//! `backbone.`, averages in `model_ema`. The model is found by its patch embedding, so no list of wrappers is needed.

use std::collections::BTreeMap;
use std::path::Path;

use super::stored::{self, Stored};
use super::{Error, Result, Stacked, TensorSource, Tensors};

/// Ends of a patch embedding's name: official, OpenMMLab's, Hugging Face's.
const EMBEDDINGS: [&str; 3] =
    ["patch_embed.proj.weight", "patch_embed.projection.weight", "embeddings.patch_embeddings.projection.weight"];
/// Parts of names that `torch.compile`, FSDP and checkpointing put anywhere.
const TRANSPARENT: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// Hugging Face's own first part of a name.
const THEIRS: [&str; 2] = ["videomae.", "vit."];
/// An encoder's last wrapper, beside which its head may stand.
const ENCODERS: [&str; 4] = ["backbone.", "encoder.", "model.", "net."];
/// What may stand beside such a wrapper.
const BESIDE: [&str; 5] = ["head.", "fc_norm.", "norm.", "classifier.", "cls_head."];
/// Names of OpenMMLab and SlowFast, and the official ones.
const OTHERS: [(&str, &str); 5] = [
    ("patch_embed.projection.", "patch_embed.proj."),
    (".mlp.layers.0.0.", ".mlp.fc1."),
    (".mlp.layers.1.", ".mlp.fc2."),
    ("cls_head.fc_cls.", "head."),
    ("head.projection.", "head."),
];

/// Which weights of a file are meant, where it has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copies {
    /// The weights themselves; where a file has only their average, that.
    #[default]
    Plain,
    /// Their average over steps (`model_ema`, `state_dict_ema`).
    Averaged,
}

/// A model taken out of a file.
#[derive(Debug)]
pub(super) struct Unwrapped<T> {
    pub tensors: Tensors<T>,
    /// What stood before its names.
    pub prefix: String,
    /// Prefixes of the other weights in the file.
    pub others: Vec<String>,
}

fn without_transparent(name: &str) -> String {
    name.split('.').filter(|part| !TRANSPARENT.contains(part)).collect::<Vec<_>>().join(".")
}

/// Whether a prefix says that the weights are averaged over steps.
fn averaged(prefix: &str) -> bool {
    prefix.split(['.', '_']).any(|word| word == "ema")
}

/// Takes the model out of a file's tensors; tensors without a patch embedding pass as they are.
///
/// # Errors
/// Several models, or none of the copies asked for.
pub(super) fn unwrap<T: TensorSource<Error = Error>>(
    found: Tensors<T>,
    copies: Copies,
    path: &Path,
) -> Result<Unwrapped<T>> {
    let candidates = candidates(&found)?;
    let (average, plain): (Vec<_>, Vec<_>) = candidates.keys().cloned().partition(|prefix| averaged(prefix));
    let wanted = match copies {
        Copies::Averaged => &average,
        Copies::Plain if plain.is_empty() => &average,
        Copies::Plain => &plain,
    };
    let malformed = |reason| Error::Malformed { path: path.to_path_buf(), reason };
    let prefix = match wanted.as_slice() {
        [prefix] => prefix.clone(),
        [] if copies == Copies::Averaged => {
            return Err(malformed("no weights averaged over steps (model_ema, state_dict_ema) are in it".into()));
        }
        [] => String::new(),
        several => {
            let list = several.iter().map(|p| format!("{p}*")).collect::<Vec<_>>().join(", ");
            return Err(malformed(format!("several models are in it, {list}; save the one that is meant alone")));
        }
    };
    let shown = candidates.get(&prefix).cloned().unwrap_or_default();
    let others = candidates.into_iter().filter(|(other, _)| *other != prefix).map(|(_, shown)| shown).collect();
    Ok(Unwrapped { tensors: under(found, &prefix), prefix: shown, others })
}

/// Prefixes of models, without transparent parts, and as they stand in the file.
fn candidates<T: TensorSource<Error = Error>>(found: &Tensors<T>) -> Result<BTreeMap<String, String>> {
    let mut candidates = BTreeMap::new();
    for (raw, tensor) in found.iter() {
        let name = without_transparent(raw);
        let Some(end) = EMBEDDINGS.iter().find(|end| name == **end || name.ends_with(&format!(".{end}"))) else {
            continue;
        };
        let whole = &name[..name.len() - end.len()];
        let theirs = THEIRS.iter().find_map(|own| whole.strip_suffix(own));
        let official = match whole.strip_suffix("encoder.") {
            Some(outer) if pretraining(found, outer, tensor)? => Some(outer),
            _ => None,
        };
        let prefix = theirs.or(official).unwrap_or(whole);
        // The file's own spelling: all parts up to the model's own.
        let own = name[prefix.len()..].split('.').count();
        let parts: Vec<&str> = raw.split('.').collect();
        let mut outside = parts.len() - own.min(parts.len());
        while outside > 0 && parts[outside..].iter().filter(|p| !TRANSPARENT.contains(p)).count() < own {
            outside -= 1;
        }
        let shown: String = parts[..outside].iter().map(|part| format!("{part}.")).collect();
        candidates.insert(prefix.to_owned(), shown);
    }
    Ok(candidates)
}

/// Whether `encoder.` belongs to the names: those of VideoMAE's pre-training, and not a wrapper of a classifier or student.
fn pretraining<T: TensorSource<Error = Error>>(found: &Tensors<T>, outer: &str, embedding: &T) -> Result<bool> {
    let names: Vec<String> = found.iter().map(|(name, _)| without_transparent(name)).collect();
    let has = |name: String| names.contains(&name);
    if has(format!("{outer}encoder_to_decoder.weight")) {
        return Ok(true);
    }
    let inside = ["head.weight", "fc_norm.weight", "down_img.weight", "down_vid.weight", "pos_embed_spatial"];
    let beside = ["head.weight", "fc_norm.weight", "classifier.weight", "cls_head.fc_cls.weight"];
    let table = found.get(&format!("{outer}encoder.pos_embed"));
    let table = table.map(T::host).transpose()?.as_ref().and_then(stored::recognise);
    Ok(embedding.shape().len() == 5
        && !inside.iter().any(|name| has(format!("{outer}encoder.{name}")))
        && !beside.iter().any(|name| has(format!("{outer}{name}")))
        && !matches!(table, Some(Stored::Sincos3d { .. })))
}

/// The tensors under a prefix, without it, and what stands beside an encoder's last wrapper.
fn under<T>(found: Tensors<T>, prefix: &str) -> Tensors<T> {
    let outer = ENCODERS.iter().find_map(|last| prefix.strip_suffix(last));
    let mut beside = Tensors::new();
    let mut inside = Tensors::new();
    for (raw, tensor) in found {
        let name = without_transparent(&raw);
        if let Some(own) = name.strip_prefix(prefix) {
            inside.insert(own, tensor);
        } else if let Some(own) = outer.and_then(|outer| name.strip_prefix(outer))
            && BESIDE.iter().any(|start| own.starts_with(start))
        {
            beside.insert(own, tensor);
        }
    }
    for (name, tensor) in beside {
        if inside.get(&name).is_none() {
            inside.insert(name, tensor);
        }
    }
    inside
}

/// Names of OpenMMLab and SlowFast to the official ones, and the full qkv bias of a clip model to `q_bias` and `v_bias`: a bias of the
/// keys adds the same to all scores of a query, which the softmax takes out again.
pub(super) fn official<T: Stacked>(found: Tensors<T>) -> Tensors<T> {
    let clips = |(name, tensor): (&str, &T)| tensor.shape().len() == 5 && name.contains("patch_embed");
    let clips = found.iter().any(clips);
    let mut out = Tensors::new();
    for (name, tensor) in found {
        let name = OTHERS.iter().fold(name, |name, (theirs, ours)| name.replacen(theirs, ours, 1));
        match name.strip_suffix("attn.qkv.bias").filter(|_| clips && tensor.elements().is_multiple_of(3)) {
            None => drop(out.insert(name, tensor)),
            Some(stem) => {
                let parts = tensor.split(3).into_iter().zip(["q_bias", "", "v_bias"]);
                for (part, name) in parts.filter(|(_, name)| !name.is_empty()) {
                    out.insert(format!("{stem}attn.{name}"), part);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::HostTensor;
    use super::*;

    fn tensors(names: &[&str]) -> Tensors {
        let tensor = |name: &str| {
            let shape = if name.contains("patch_embed") { vec![1, 1, 1, 1, 1] } else { vec![1] };
            HostTensor { shape, data: vec![name.len() as f32] }
        };
        names.iter().map(|name| (name.to_string(), tensor(name))).collect()
    }

    fn names(of: &Tensors) -> Vec<&str> {
        of.iter().map(|(name, _)| name).collect()
    }

    fn unwrapped(names: &[&str], copies: Copies) -> Result<Unwrapped<HostTensor>> {
        unwrap(tensors(names), copies, Path::new("w.pth"))
    }

    #[test]
    fn wrappers_in_any_nesting() {
        let own = ["blocks.0.norm1.bias", "head.weight", "patch_embed.proj.weight"];
        for prefix in [
            "",
            "model.",
            "module.",
            "_orig_mod.",
            "state_dict.model._orig_mod.module.",
            "state_dict.backbone.",
            "model_state.net.encoder.",
            "module._orig_mod.encoder.backbone.",
            "student_ema.",
        ] {
            let given = own.map(|name| format!("{prefix}{name}"));
            let given: Vec<&str> = given.iter().map(String::as_str).chain(["epoch", "optim.blocks.0.step"]).collect();
            let found = unwrapped(&given, Copies::Plain).unwrap();
            if matches!(prefix, "" | "_orig_mod.") {
                assert_eq!(found.tensors.len(), 5, "nothing tells what is outside");
            } else {
                assert_eq!(names(&found.tensors), own, "{prefix}");
            }
            assert_eq!((found.prefix.as_str(), found.others.len()), (prefix, 0));
        }
        // Inside of names, and with the head beside the encoder.
        let inner = [
            "m.encoder._orig_mod.patch_embed.proj.weight",
            "m.encoder._orig_mod.blocks.0._orig_mod.x",
            "m.head.weight",
        ];
        let found = unwrapped(&inner, Copies::Plain).unwrap();
        assert_eq!(names(&found.tensors), ["blocks.0.x", "head.weight", "patch_embed.proj.weight"]);
        assert_eq!(found.prefix, "m.encoder._orig_mod.");
    }

    #[test]
    fn names_that_belong_to_the_model_stay() {
        let video =
            ["module.encoder.patch_embed.proj.weight", "module.encoder.blocks.0.x", "module.encoder_to_decoder.weight"];
        let found = unwrapped(&video, Copies::Plain).unwrap();
        assert_eq!(names(&found.tensors)[1], "encoder.patch_embed.proj.weight");
        assert_eq!(found.prefix, "module.");
        let theirs = ["model.videomae.embeddings.patch_embeddings.projection.weight", "model.classifier.weight"];
        let found = unwrapped(&theirs, Copies::Plain).unwrap();
        assert_eq!(names(&found.tensors)[0], "classifier.weight");
        assert_eq!(found.prefix, "model.");
        assert_eq!(unwrapped(&["a.b"], Copies::Plain).unwrap().tensors, tensors(&["a.b"]));
    }

    #[test]
    fn plain_weights_before_averages() {
        let both = ["model.patch_embed.proj.weight", "model_ema.module.patch_embed.proj.weight"];
        let plain = unwrapped(&both, Copies::Plain).unwrap();
        assert_eq!((plain.prefix.as_str(), plain.others), ("model.", vec!["model_ema.module.".to_owned()]));
        assert_eq!(unwrapped(&both, Copies::Averaged).unwrap().prefix, "model_ema.module.");
        assert_eq!(unwrapped(&both[1..], Copies::Plain).unwrap().prefix, "model_ema.module.");
        let none = unwrapped(&both[..1], Copies::Averaged).unwrap_err().to_string();
        assert!(none.contains("w.pth") && none.contains("no weights averaged"), "{none}");
        let two = ["student.patch_embed.proj.weight", "teacher.patch_embed.proj.weight"];
        let two = unwrapped(&two, Copies::Plain).unwrap_err().to_string();
        assert!(two.contains("several models are in it, student.*, teacher.*"), "{two}");
    }

    #[test]
    fn other_programs_names_become_official() {
        let found = official(tensors(&[
            "patch_embed.projection.weight",
            "blocks.0.mlp.layers.0.0.bias",
            "blocks.0.mlp.layers.1.weight",
            "cls_head.fc_cls.bias",
            "head.projection.weight",
        ]));
        assert_eq!(
            names(&found),
            ["blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2.weight", "head.bias", "head.weight", "patch_embed.proj.weight"]
        );
        let mut full = tensors(&["patch_embed.proj.weight"]);
        full.insert("blocks.0.attn.qkv.bias", HostTensor { shape: vec![6], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] });
        let split = official(full);
        assert_eq!(split.get("blocks.0.attn.q_bias").unwrap().data, [1.0, 2.0]);
        assert_eq!(split.get("blocks.0.attn.v_bias").unwrap().data, [5.0, 6.0]);
        assert!(split.get("blocks.0.attn.qkv.bias").is_none());
    }
}
