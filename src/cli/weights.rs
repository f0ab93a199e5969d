//! `mvd convert`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use super::model::{ModelArgs, NamesArgs};
use crate::model::Vit;
use crate::model::classifier::Pooling;
use crate::model::encoder::Family;
use crate::model::opened::Opened;
use crate::op::layer_norm::EPS;
use crate::train::checkpoint::Which;
use crate::weights::stored::{self, Stored};
use crate::weights::{self, Description, HostTensor, Kind, LazyTensor, TensorSource, Tensors, hf};

/// Names to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// MVD's own: one file, safetensors, or a PyTorch checkpoint where its name ends in .pth or .pt.
    Mvd,
    /// VideoMAE's: one file, as for mvd.
    Videomae,
    /// MAE's: one file, as for mvd.
    Mae,
    /// ST-MAE's and SlowFast's: one file, as for mvd, or .pyth.
    StMae,
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
    /// Which of its weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    /// Attention heads of the decoder, for config.json [default: the run's, config.json's, the published decoder's].
    #[arg(long)]
    decoder_heads: Option<usize>,
    #[command(flatten)]
    names: NamesArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Endings of PyTorch checkpoints.
const PYTORCH: [&str; 3] = ["pth", "pt", "pyth"];

/// Whether a model has a form in these names, and no other model's position table there.
fn fits(opened: &Opened, to: Target) -> Result<(), Failure> {
    let family = opened.family.as_ref().map(|known| known.value);
    let kind = opened.about.kind;
    let holds = match to {
        Target::Mvd => matches!(family, None | Some(Family::Mvd)),
        Target::Videomae => matches!(family, None | Some(Family::VideoMae)) && kind != Kind::Student,
        Target::Mae => kind == Kind::Mae,
        Target::StMae => family == Some(Family::StMae),
        // transformers has no model with MVD's position table, and none of an encoder under the names that MVD shares.
        Target::Hf => kind == Kind::Mae || opened.family()? == Family::VideoMae && kind != Kind::Encoder,
    };
    if holds {
        return Ok(());
    }
    let (file, name) = (opened.origin.path.display(), kind.an());
    if to == Target::Hf {
        let why = match family {
            Some(Family::Mvd) => "MVD's has another position table; --to mvd writes a .pth",
            Some(Family::StMae) => "ST-MAE has no model there; --to st-mae writes a .pyth",
            _ => "an encoder by itself has none; --to videomae writes a .pth",
        };
        return Err(format!(
            "{file}: {name} has no form in --to hf: only MAE, VideoMAE's pre-training and VideoMAE's classifiers have a form in \
             transformers; {why}"
        )
        .into());
    }
    let why = match family {
        Some(Family::Mvd) => " of MVD, whose position table the programs of these names do not have,",
        _ => "",
    };
    let to = to.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Err(format!("{file}: {name}{why} has no form in --to {to}").into())
}

pub(super) fn convert(args: &ConvertArgs) -> Result<(), Failure> {
    let mut opened = args.model.open(&args.input, args.weights)?;
    args.names.apply(&mut opened)?;
    fits(&opened, args.to)?;
    let size = opened.size.value;
    opened.grid()?;
    let mut own = opened.tensors.clone();
    if opened.about.kind == Kind::Mae {
        with_positions(&mut own, &opened.about, size, &args.input)?;
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    if args.to != Target::Hf {
        match args.output.extension().and_then(|ending| ending.to_str()) {
            Some(ending) if PYTORCH.contains(&ending) => weights::save_pth(&args.output, &own)?,
            _ => weights::save(&args.output, &own, &metadata)?,
        }
        println!("wrote {} tensors to {}", own.len(), args.output.display());
        return Ok(());
    }
    let config = config(args, &opened)?;
    let io = |e: std::io::Error| format!("cannot write {}: {e}", args.output.display());
    std::fs::create_dir_all(&args.output).map_err(io)?;
    let model = match opened.about.kind {
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

/// Heads of a decoder: by flag, run, `config.json`, else those of the published decoder of this width.
fn decoder_heads(args: &ConvertArgs, opened: &Opened, dim: usize) -> Result<usize, Failure> {
    let of_run = || opened.run.get("decoder")?.get("heads")?.as_integer().map(|heads| heads as usize);
    let of_config = || opened.config["decoder_num_attention_heads"].as_u64().map(|heads| heads as usize);
    let published = || match (opened.about.kind, dim) {
        (Kind::Mae, 512) => Some(16),
        (Kind::VideoMae, 192) => Some(3),
        (Kind::VideoMae, 384) => Some(6),
        (Kind::VideoMae, 512 | 640) => Some(8),
        _ => None,
    };
    let heads = args.decoder_heads.or_else(of_run).or_else(of_config).or_else(published);
    let heads = heads.ok_or_else(|| {
        format!(
            "--decoder-heads: no published decoder has its width, {dim}, and neither a run nor a config.json says it"
        )
    })?;
    if heads == 0 || !dim.is_multiple_of(heads) {
        return Err(format!("--decoder-heads: expected one that divides {dim}, got {heads}").into());
    }
    Ok(heads)
}

/// What is written where the model's own `config.json` says nothing.
fn usual_config(opened: &Opened) -> Value {
    let about = &opened.about;
    let mut config = json!({
        "hidden_act": "gelu",
        // What transformers takes where a config has none is smaller than everyone else's.
        "layer_norm_eps": if opened.block_eps() < EPS { 1e-12 } else { 1e-6 },
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "num_channels": 3,
        "qkv_bias": true,
        "norm_pix_loss": true,
    });
    let more = if about.kind == Kind::Mae {
        json!({ "mask_ratio": 0.75 })
    } else {
        let classifier = about.kind == Kind::Classifier;
        let mean = if classifier {
            opened.pooling.value == Pooling::Mean
        } else {
            opened.tensors.get("encoder.norm.weight").is_none()
        };
        json!({ "qv_bias": true, "use_mean_pooling": mean })
    };
    extend(&mut config, &more);
    config
}

fn extend(config: &mut Value, more: &Value) {
    if let (Value::Object(config), Value::Object(more)) = (config, more) {
        config.extend(more.clone());
    }
}

/// The `config.json`: the model's own where it has one, and over it what its tensors and flags say.
fn config(args: &ConvertArgs, opened: &Opened) -> Result<Value, Failure> {
    let about = &opened.about;
    let Vit { dim, depth, heads, .. } = opened.vit()?;
    let (decoder, decoder_heads) = match about.decoder {
        Some(decoder) => (decoder, decoder_heads(args, opened, decoder.dim)?),
        None => (about.encoder, heads),
    };
    let first = opened.tensors.get(&format!("{}blocks.0.mlp.fc1.bias", about.inner()));
    let mut config = usual_config(opened);
    extend(&mut config, &opened.config);
    let (kind, architecture) = match (about.kind, about.decoder) {
        (Kind::Mae, Some(_)) => ("vit_mae", "ViTMAEForPreTraining"),
        (Kind::Mae, None) => ("vit_mae", "ViTMAEModel"),
        (Kind::VideoMae, Some(_)) => ("videomae", "VideoMAEForPreTraining"),
        (Kind::VideoMae, None) => ("videomae", "VideoMAEModel"),
        _ => ("videomae", "VideoMAEForVideoClassification"),
    };
    let shape = json!({
        "model_type": kind,
        "architectures": [architecture],
        "hidden_size": dim,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": first.map_or(4 * dim, |bias| bias.elements()),
        "image_size": opened.size.value,
        "patch_size": about.patch,
    });
    extend(&mut config, &shape);
    if about.decoder.is_some() || config["decoder_hidden_size"].is_null() {
        let decoder = json!({
            "decoder_hidden_size": decoder.dim,
            "decoder_num_hidden_layers": decoder.depth,
            "decoder_num_attention_heads": decoder_heads,
            "decoder_intermediate_size": 4 * decoder.dim,
        });
        extend(&mut config, &decoder);
    }
    if about.kind != Kind::Mae {
        extend(&mut config, &json!({ "num_frames": opened.frames.value, "tubelet_size": about.tubelet }));
        let classes = about.classes.unwrap_or(2);
        if opened.names.is_some() || config["id2label"].as_object().map(serde_json::Map::len) != Some(classes) {
            let name = |i: usize| opened.names.as_ref().and_then(|known| known.value.get(i)).filter(|n| !n.is_empty());
            let label = |i: usize| name(i).cloned().unwrap_or_else(|| format!("LABEL_{i}"));
            let names: serde_json::Map<_, _> = (0..classes).map(|i| (i.to_string(), json!(label(i)))).collect();
            let numbers: serde_json::Map<_, _> = (0..classes).map(|i| (label(i), json!(i))).collect();
            extend(&mut config, &json!({ "id2label": names, "label2id": numbers }));
        }
    }
    Ok(config)
}
