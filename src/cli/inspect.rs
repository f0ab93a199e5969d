//! `mvd inspect`

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::weights::config_beside;
use crate::weights::{
    self, Description, Kind, LazyTensor, Origin, TensorSource, Tensors, describe, stored, usual_heads,
};

#[derive(Args)]
pub(super) struct InspectArgs {
    /// safetensors, a PyTorch checkpoint, an index of shards, a folder with one of them, or hf:owner/name.
    file: PathBuf,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
}

/// Missing tensors that are named; of more, their number.
const NAMED: usize = 6;
/// Files that a run needs beside its weights to go on.
const OF_A_RUN: [&str; 2] = ["optimizer.safetensors", "state.json"];

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let (tensors, origin) = weights::open(&args.file)?;
    let about = describe(&tensors);
    match &about {
        Some(about) => println!("{about}"),
        None => println!("no model that mvd knows: no patch_embed.proj.weight"),
    }
    println!("file       {}", file(&origin));
    let (count, elements) = (tensors.len(), tensors.elements());
    println!("tensors    {count}, {elements} values ({:.1} million)", elements as f64 / 1e6);
    if let Some(about) = &about {
        println!("heads      {}", heads(about, &origin)?);
        positions(&tensors)?;
        uses(&tensors, about, &origin);
    }
    if args.tensors {
        for (name, tensor) in tensors.iter() {
            println!("{name} {:?}", tensor.shape());
        }
    }
    Ok(())
}

fn file(origin: &Origin) -> String {
    let shards = if origin.files > 1 { format!(" in {} files", origin.files) } else { String::new() };
    let names = if origin.hugging_face { "Hugging Face's names" } else { "official names" };
    format!("{}{shards}, {:.1} MB, {names}", origin.format, origin.bytes as f64 / 1e6)
}

/// Tensors do not tell the number of heads.
fn heads(about: &Description, origin: &Origin) -> Result<String, Failure> {
    let stored = config_beside(&origin.path)?["num_attention_heads"].as_u64();
    Ok(match stored {
        Some(heads) => format!("{heads}, says config.json"),
        None => format!("not stored; {} in the published model of this width", usual_heads(about.encoder.dim)),
    })
}

fn positions(tensors: &Tensors<LazyTensor>) -> Result<(), Failure> {
    let mut any = false;
    for (name, table) in stored::tables(tensors)? {
        let learned = matches!(table, stored::Stored::Learned { .. });
        let what = if learned { "; training puts the fixed table in its place" } else { "; computed for any grid" };
        println!("positions  {name}: {table}{what}");
        any = true;
    }
    if !any {
        println!("positions  none stored; computed for any grid");
    }
    Ok(())
}

/// What the file is good for, and what each use would miss.
fn uses(tensors: &Tensors<LazyTensor>, about: &Description, origin: &Origin) {
    let encoder = missing(tensors, about);
    let line = |what: &str, missing: &[String]| {
        let more = missing.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = missing[..missing.len().min(NAMED)].join(", ");
        let verdict = if missing.is_empty() { "complete".to_owned() } else { format!("missing {named}{more}") };
        println!("  {what:<36} {verdict}");
    };
    println!("uses");
    match about.kind {
        Kind::Mae => line("mvd distill --image-teacher", &encoder),
        Kind::VideoMae => line("mvd distill --video-teacher", &encoder),
        Kind::Student | Kind::Classifier | Kind::Encoder => {}
    }
    if about.kind != Kind::Mae {
        // Hugging Face has no model with MVD's positions.
        let videomae = about.kind == Kind::VideoMae || origin.hugging_face;
        line(if videomae { "mvd finetune --model videomae --init" } else { "mvd finetune --init" }, &encoder);
        line("mvd probe, mvd features", &encoder);
    }
    let beside = |name: &&str| !origin.path.with_file_name(name).is_file();
    let absent: Vec<String> = OF_A_RUN.iter().filter(|name| beside(name)).map(|name| (*name).to_owned()).collect();
    let command = match about.kind {
        Kind::Mae | Kind::VideoMae => "mvd pretrain --resume RUN",
        Kind::Student | Kind::Encoder => "mvd distill --resume RUN",
        Kind::Classifier => "mvd finetune --resume RUN",
    };
    line(command, &absent);
}

/// Tensors of the encoder that the file lacks.
fn missing(tensors: &Tensors<LazyTensor>, about: &Description) -> Vec<String> {
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
