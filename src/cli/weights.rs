//! `mvd inspect` and `mvd convert`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use crate::weights::{self, Description, Kind, Tensors, describe, hf, usual_heads};

#[derive(Args)]
pub(super) struct InspectArgs {
    /// safetensors, a PyTorch checkpoint, an index of shards, or a folder with one of them.
    file: PathBuf,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
}

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
    /// Height and width of frames, for config.json.
    #[arg(long, default_value_t = 224)]
    input_size: usize,
    /// Frames of a clip, for config.json.
    #[arg(long, default_value_t = 16)]
    frames: usize,
}

fn load(file: &Path) -> Result<(Tensors, Option<Description>), Failure> {
    let tensors = weights::load(file)?;
    let about = describe(&tensors);
    Ok((tensors, about))
}

pub(super) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let (tensors, about) = load(&args.file)?;
    let (count, elements) = (tensors.len(), tensors.elements());
    match &about {
        Some(about) => println!("{about}"),
        None => println!("no model that mvd knows: no patch_embed.proj.weight"),
    }
    println!("{count} tensors, {elements} values ({:.1} million)", elements as f64 / 1e6);
    let role = about.as_ref().map(|about| match about.kind {
        Kind::Mae => "fits mvd distill --image-teacher",
        Kind::VideoMae => "fits mvd distill --video-teacher",
        Kind::Student | Kind::Encoder | Kind::Classifier => "fits mvd finetune --init",
    });
    if let (Some(role), Some(about)) = (role, &about) {
        let missing = missing(&tensors, about);
        if missing.is_empty() {
            println!("{role}");
        } else {
            println!("{role}, but for what is missing: {}", missing.join(", "));
        }
    }
    if args.tensors {
        for (name, tensor) in tensors.iter() {
            println!("{name} {:?}", tensor.shape);
        }
    }
    Ok(())
}

/// Tensors of the encoder that the file lacks.
fn missing(tensors: &Tensors, about: &Description) -> Vec<String> {
    let inner = if about.kind == Kind::VideoMae { "encoder." } else { "" };
    let biases: &[&str] = if about.kind == Kind::Mae { &["attn.qkv.bias"] } else { &["attn.q_bias", "attn.v_bias"] };
    let layers = ["norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"];
    let layers = layers.iter().flat_map(|l| ["weight", "bias"].map(|kind| format!("{l}.{kind}")));
    let of_block: Vec<String> =
        layers.chain(["attn.qkv.weight".to_owned()]).chain(biases.iter().map(|b| (*b).to_owned())).collect();
    let blocks = (0..about.encoder.depth).flat_map(|i| of_block.iter().map(move |name| format!("blocks.{i}.{name}")));
    let outside = ["patch_embed.proj.weight", "patch_embed.proj.bias"].map(str::to_owned);
    let class = (about.kind == Kind::Mae).then(|| "cls_token".to_owned());
    let wanted = outside.into_iter().chain(class).chain(blocks).map(|name| format!("{inner}{name}"));
    wanted.filter(|name| tensors.get(&format!("{}{name}", about.prefix)).is_none()).collect()
}

pub(super) fn convert(args: &ConvertArgs) -> Result<(), Failure> {
    let (tensors, about) = load(&args.input)?;
    let unknown = || format!("{}: no model that mvd knows", args.input.display());
    let about = about.ok_or_else(unknown)?;
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
    let own: Tensors = tensors.into_iter().filter_map(named).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    if args.to != Target::Hf {
        weights::save(&args.output, &own, &metadata)?;
        println!("wrote {} tensors to {}", own.len(), args.output.display());
        return Ok(());
    }
    let config = config(args, &about, &own)?;
    let io = |e: std::io::Error| format!("cannot write {}: {e}", args.output.display());
    std::fs::create_dir_all(&args.output).map_err(io)?;
    let model = match about.kind {
        Kind::Mae => hf::Model::Mae,
        Kind::VideoMae => hf::Model::VideoMae,
        _ => hf::Model::Classifier,
    };
    let theirs = hf::from_official(&with_positions(own, &about, args)?, model);
    weights::save(args.output.join("model.safetensors"), &theirs, &metadata)?;
    std::fs::write(args.output.join("config.json"), serde_json::to_vec_pretty(&config)?).map_err(io)?;
    println!("wrote {} tensors and config.json to {}", theirs.len(), args.output.display());
    Ok(())
}

/// MAE's position tables are parameters to transformers; files of ours leave them out.
fn with_positions(mut own: Tensors, about: &Description, args: &ConvertArgs) -> Result<Tensors, Failure> {
    if about.kind != Kind::Mae {
        return Ok(own);
    }
    let side = args.input_size / about.patch;
    let tables = [("pos_embed", Some(about.encoder.dim)), ("decoder_pos_embed", about.decoder.map(|d| d.dim))];
    for (name, dim) in tables {
        let Some(dim) = dim.filter(|_| own.get(name).is_none()) else { continue };
        let data = weights::position::sincos_2d(side, side, dim, true)?;
        own.insert(name, weights::HostTensor { shape: vec![1, 1 + side * side, dim], data });
    }
    Ok(own)
}

fn config(args: &ConvertArgs, about: &Description, own: &Tensors) -> Result<Value, Failure> {
    let given: Value = match std::fs::read(args.input.join("config.json")) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(_) => Value::Null,
    };
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
    let hidden = first.map_or(4 * dim, |t| t.data.len());
    let mut config = json!({
        "hidden_size": dim,
        "num_hidden_layers": about.encoder.depth,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "image_size": number("image_size", None, args.input_size),
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
    let (kind, architecture) = match about.kind {
        Kind::Mae => ("vit_mae", "ViTMAEForPreTraining"),
        Kind::VideoMae => ("videomae", "VideoMAEForPreTraining"),
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
            "num_frames": number("num_frames", None, args.frames),
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
