//! `mvd convert`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use crate::weights::stored::{self, Stored};
use crate::weights::{
    self, Description, HostTensor, Kind, LazyTensor, TensorSource, Tensors, describe, hf, usual_heads,
};

/// Names to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// MVD's own: one safetensors file.
    Mvd,
    /// VideoMAE's: one safetensors file.
    Videomae,
    /// MAE's: one safetensors file.
    Mae,
    /// Hugging Face's: a folder with config.json, for `transformers`.
    Hf,
}

#[derive(Args)]
pub(super) struct ConvertArgs {
    /// What to read, as `mvd inspect`.
    input: PathBuf,
    /// File (or, for hf, folder) to write.
    output: PathBuf,
    /// Names to write.
    #[arg(long, value_enum)]
    to: Target,
    /// Attention heads, for config.json [default: the input's config.json, else the published model's of that width].
    #[arg(long)]
    heads: Option<usize>,
    /// Attention heads of the decoder, as --heads.
    #[arg(long)]
    decoder_heads: Option<usize>,
    /// Height and width of frames, for config.json and MAE's position tables [default: what these say, else 224].
    #[arg(long)]
    input_size: Option<usize>,
    /// Frames of a clip, for config.json [default: the input's config.json, else 16].
    #[arg(long)]
    frames: Option<usize>,
}

/// A Hugging Face `config.json` beside a weight file; null if there is none.
pub(super) fn config_beside(file: &Path) -> Result<Value, Failure> {
    let path = file.with_file_name("config.json");
    match std::fs::read(&path) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(e) => Err(format!("cannot read {}: {e}", path.display()).into()),
    }
}

pub(super) fn convert(args: &ConvertArgs) -> Result<(), Failure> {
    let (tensors, origin) = weights::open(&args.input)?;
    let unknown = || format!("{}: no model that mvd knows", args.input.display());
    let about = describe(&tensors).ok_or_else(unknown)?;
    let fits = match args.to {
        Target::Mvd => matches!(about.kind, Kind::Student | Kind::Classifier | Kind::Encoder),
        Target::Videomae => matches!(about.kind, Kind::VideoMae | Kind::Classifier),
        Target::Mae => about.kind == Kind::Mae,
        Target::Hf => matches!(about.kind, Kind::Mae | Kind::VideoMae | Kind::Classifier),
    };
    if !fits {
        // transformers has no model with MVD's position table.
        return Err(
            format!("{}: a {} has no form in --to {:?}", args.input.display(), about.kind.name(), args.to).into()
        );
    }
    let named = |(name, tensor): (String, _)| Some((name.strip_prefix(&about.prefix)?.to_owned(), tensor));
    let mut own: Tensors<LazyTensor> = tensors.into_iter().filter_map(named).collect();
    let given = config_beside(&origin.path)?;
    let size = input_size(args, &about, &own, &given)?;
    if about.kind == Kind::Mae {
        with_positions(&mut own, &about, size, &args.input)?;
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    if args.to != Target::Hf {
        weights::save(&args.output, &own, &metadata)?;
        println!("wrote {} tensors to {}", own.len(), args.output.display());
        return Ok(());
    }
    if about.kind == Kind::Classifier && !origin.hugging_face {
        // Their tensors are the same.
        log::warn!(
            "transformers gives a classifier VideoMAE's positions: one of an MVD student is another model there"
        );
    }
    let config = config(args, &about, &own, &given, size)?;
    let io = |e: std::io::Error| format!("cannot write {}: {e}", args.output.display());
    std::fs::create_dir_all(&args.output).map_err(io)?;
    let model = match about.kind {
        Kind::Mae => hf::Model::Mae,
        Kind::VideoMae => hf::Model::VideoMae,
        _ => hf::Model::Classifier,
    };
    let theirs = hf::from_official(&own, model);
    weights::save(args.output.join("model.safetensors"), &theirs, &metadata)?;
    std::fs::write(args.output.join("config.json"), serde_json::to_vec_pretty(&config)?).map_err(io)?;
    println!("wrote {} tensors and config.json to {}", theirs.len(), args.output.display());
    Ok(())
}

/// Height and width of frames: the flag, else those of MAE's stored table, else of config.json, else 224.
fn input_size(
    args: &ConvertArgs,
    about: &Description,
    own: &Tensors<LazyTensor>,
    given: &Value,
) -> Result<usize, Failure> {
    let table = own.get("pos_embed").filter(|_| about.kind == Kind::Mae).map(LazyTensor::host).transpose()?;
    let stored = table.as_ref().and_then(stored::image_side).map(|side| side * about.patch);
    let configured = given["image_size"].as_u64().map(|n| n as usize);
    let size = args.input_size.or(stored).or(configured).unwrap_or(224);
    if size == 0 || !size.is_multiple_of(about.patch.max(1)) {
        return Err(format!("--input-size: expected a multiple of the patch, {}, got {size}", about.patch).into());
    }
    Ok(size)
}

/// Gives an MAE its position tables for frames of `size`: parameters to others, left out of files of ours.
fn with_positions(own: &mut Tensors<LazyTensor>, about: &Description, size: usize, file: &Path) -> Result<(), Failure> {
    let side = size / about.patch;
    let tables = [("pos_embed", Some(about.encoder.dim)), ("decoder_pos_embed", about.decoder.map(|d| d.dim))];
    for (name, dim) in tables {
        let Some(dim) = dim else { continue };
        let table = match own.remove(name).map(|old| old.host()).transpose()? {
            None => {
                let data = weights::position::sincos_2d(side, side, dim, true)?;
                HostTensor { shape: vec![1, 1 + side * side, dim], data }
            }
            Some(old) => {
                let was = stored::image_side(&old).filter(|was| *was != side);
                if let (Some(was), Some(Stored::Learned { .. })) = (was, stored::recognise(&old)) {
                    println!("{name} is learned: resized from {was} x {was} to {side} x {side} tokens, bicubically");
                }
                stored::resize(&old, side)?.ok_or_else(|| weights::Error::Tensor {
                    path: file.to_path_buf(),
                    tensor: name.to_owned(),
                    expected: format!("a table of shape [1, 1 + n n, {dim}]"),
                    got: format!("{:?}", old.shape),
                })?
            }
        };
        own.insert(name, table.into());
    }
    Ok(())
}

fn config(
    args: &ConvertArgs,
    about: &Description,
    own: &Tensors<LazyTensor>,
    given: &Value,
    size: usize,
) -> Result<Value, Failure> {
    let number = |key: &str, flag: Option<usize>, usual: usize| {
        flag.or_else(|| given[key].as_u64().map(|n| n as usize)).unwrap_or(usual)
    };
    let dim = about.encoder.dim;
    let decoder = about.decoder.unwrap_or(about.encoder);
    let heads = number("num_attention_heads", args.heads, usual_heads(dim));
    let decoder_heads = number("decoder_num_attention_heads", args.decoder_heads, usual_heads(decoder.dim));
    for (flag, dim, heads) in [("--heads", dim, heads), ("--decoder-heads", decoder.dim, decoder_heads)] {
        if heads == 0 || !dim.is_multiple_of(heads) {
            return Err(format!("{flag}: expected one that divides {dim}, got {heads}").into());
        }
    }
    let first = ["encoder.", ""].iter().find_map(|inner| own.get(&format!("{inner}blocks.0.mlp.fc1.bias")));
    let hidden = first.map_or(4 * dim, LazyTensor::elements);
    let mut config = json!({
        "hidden_size": dim,
        "num_hidden_layers": about.encoder.depth,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "image_size": size,
        "patch_size": about.patch,
        "num_channels": 3,
        "qkv_bias": true,
        "decoder_hidden_size": decoder.dim,
        "decoder_num_hidden_layers": decoder.depth,
        "decoder_num_attention_heads": decoder_heads,
        "decoder_intermediate_size": 4 * decoder.dim,
        "norm_pix_loss": true,
    });
    let classifier = about.kind == Kind::Classifier;
    let (kind, architecture) = match (about.kind, about.decoder) {
        (Kind::Mae, Some(_)) => ("vit_mae", "ViTMAEForPreTraining"),
        (Kind::Mae, None) => ("vit_mae", "ViTMAEModel"),
        (Kind::VideoMae, Some(_)) => ("videomae", "VideoMAEForPreTraining"),
        (Kind::VideoMae, None) => ("videomae", "VideoMAEModel"),
        _ => ("videomae", "VideoMAEForVideoClassification"),
    };
    let more = if about.kind == Kind::Mae {
        json!({ "model_type": kind, "architectures": [architecture], "mask_ratio": 0.75 })
    } else {
        let labels = |swap: bool| -> Value {
            let label = |i: usize| {
                if swap { (format!("LABEL_{i}"), json!(i)) } else { (i.to_string(), json!(format!("LABEL_{i}"))) }
            };
            (0..about.classes.unwrap_or(2)).map(label).collect::<serde_json::Map<_, _>>().into()
        };
        json!({
            "model_type": kind,
            "architectures": [architecture],
            "num_frames": number("num_frames", args.frames, 16),
            "tubelet_size": about.tubelet,
            "qv_bias": true,
            "use_mean_pooling": classifier || own.get("encoder.norm.weight").is_none(),
            "id2label": labels(false),
            "label2id": labels(true),
        })
    };
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    Ok(config)
}
