//! `mvd inspect`

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::model::ModelArgs;
use crate::gpu::{Caps, Recorder};
use crate::model::encoder::Family;
use crate::model::opened::Opened;
use crate::train::checkpoint::Which;
use crate::weights::{self, Description, Kind, LazyTensor, Origin, TensorSource, Tensors, stored};

#[derive(Args)]
pub(super) struct InspectArgs {
    /// safetensors, a PyTorch checkpoint, an index of shards, a folder with one of them, or hf:owner/name.
    file: PathBuf,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// Which of the weights.
    #[arg(long, value_enum, default_value_t)]
    weights: Which,
    #[command(flatten)]
    model: ModelArgs,
}

/// Missing tensors that are named; of more, their number.
const NAMED: usize = 6;
/// Files that a run needs beside its weights to go on.
const OF_A_RUN: [&str; 2] = ["optimizer.safetensors", "state.json"];

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    let opened = match args.model.open(&args.file, args.weights) {
        Ok(opened) => opened,
        Err(failure) if matches!(failure.downcast_ref(), Some(weights::Error::NoModel { .. })) => {
            println!("no model that mvd knows: no patch_embed.proj.weight");
            let (tensors, origin) = weights::open(&args.file)?;
            content(&tensors, &origin);
            list(args, &tensors);
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    println!("{}", opened.about);
    content(&opened.tensors, &opened.origin);
    println!("{opened}");
    positions(&opened)?;
    let strange = opened.strange();
    if let Some(first) = strange.first() {
        println!("unexpected {first} and {} more: mvd does not compute such blocks", strange.len() - 1);
    }
    uses(&opened);
    list(args, &opened.tensors);
    Ok(())
}

fn content(tensors: &Tensors<LazyTensor>, origin: &Origin) {
    println!("file       {}", file(origin));
    let (count, elements) = (tensors.len(), tensors.elements());
    println!("tensors    {count}, {elements} values ({:.1} million)", elements as f64 / 1e6);
}

fn list(args: &InspectArgs, tensors: &Tensors<LazyTensor>) {
    for (name, tensor) in tensors.iter().filter(|_| args.tensors) {
        println!("{name} {:?}", tensor.shape());
    }
}

fn file(origin: &Origin) -> String {
    let shards = if origin.files > 1 { format!(" in {} files", origin.files) } else { String::new() };
    let names = if origin.hugging_face { "Hugging Face's names" } else { "official names" };
    let prefix = if origin.prefix.is_empty() { String::new() } else { format!(" under {}*", origin.prefix) };
    let others =
        if origin.others.is_empty() { String::new() } else { format!("; others under {}*", origin.others.join("*, ")) };
    format!("{}{shards}, {:.1} MB, {names}{prefix}{others}", origin.format, origin.bytes as f64 / 1e6)
}

fn positions(opened: &Opened) -> Result<(), Failure> {
    for (name, table) in stored::tables(&opened.tensors)? {
        let what = match table {
            _ if opened.about.learned.is_some() => "; read, and trained",
            stored::Stored::Learned { .. } => "; training puts the fixed table in its place",
            _ => "; computed for any grid",
        };
        println!("stored     {name}: {table}{what}");
    }
    Ok(())
}

/// What the file is good for, and what each use would miss.
fn uses(opened: &Opened) {
    let (about, origin) = (&opened.about, &opened.origin);
    let encoder = missing(&opened.tensors, about);
    let line = |what: &str, missing: &[String], refused: Option<String>| {
        let more = missing.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = missing[..missing.len().min(NAMED)].join(", ");
        let verdict = match refused {
            _ if !missing.is_empty() => format!("missing {named}{more}"),
            Some(why) => format!("refused: {why}"),
            None => "complete".to_owned(),
        };
        println!("  {what:<36} {verdict}");
    };
    println!("uses");
    match about.kind {
        Kind::Mae => line("mvd distill --image-teacher", &encoder, None),
        _ if opened.family.as_ref().is_some_and(|known| matches!(known.value, Family::VideoMae | Family::StMae)) => {
            line("mvd distill --video-teacher", &encoder, None);
        }
        _ => {}
    }
    if about.kind != Kind::Mae {
        line("mvd finetune --init", &encoder, None);
        line("mvd probe, mvd features", &encoder, refusal(opened, false));
        if about.kind == Kind::Classifier {
            let norm = format!("{}.weight", opened.pooling.value.norm());
            let wanted = [norm, "head.bias".to_owned()];
            let mut absent = encoder.clone();
            absent.extend(wanted.into_iter().filter(|name| opened.tensors.get(name).is_none()));
            line("mvd eval, mvd predict", &absent, refusal(opened, true));
        }
    }
    let beside = |name: &&str| !origin.path.with_file_name(name).is_file();
    let absent: Vec<String> = OF_A_RUN.iter().filter(|name| beside(name)).map(|name| (*name).to_owned()).collect();
    let command = match about.kind {
        Kind::Mae | Kind::VideoMae | Kind::StMae => "mvd pretrain --resume RUN",
        Kind::Student | Kind::Encoder => "mvd distill --resume RUN",
        Kind::Classifier => "mvd finetune --resume RUN",
    };
    line(command, &absent, None);
}

/// Why a command that has it look at clips would refuse it, with or without its head.
fn refusal(opened: &Opened, head: bool) -> Option<String> {
    let tried = opened.classifier(1).and_then(|arch| {
        let mut rec = Recorder::new(Caps::webgpu_default());
        let specs = arch.record_forward(&mut rec)?.params.specs;
        if head { opened.adopt(&specs, "", &[]).map(drop) } else { Ok(()) }
    });
    match tried {
        Ok(()) => None,
        Err(weights::Error::Unknown { what, .. }) => Some(what),
        Err(other) => Some(other.to_string().replace("\n ", ";")),
    }
}

/// Tensors of the encoder that the file lacks.
fn missing(tensors: &Tensors<LazyTensor>, about: &Description) -> Vec<String> {
    let inner = about.inner();
    let (layers, own): (&[&str], &[&str]) = match about {
        Description { learned: Some(_), .. } => (&["attn.q", "attn.k", "attn.v"], &[]),
        Description { kind: Kind::Mae, .. } => (&["attn.qkv"], &[]),
        _ => (&[], &["attn.qkv.weight", "attn.q_bias", "attn.v_bias"]),
    };
    let layers = ["norm1", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"].iter().chain(layers);
    let layers = layers.flat_map(|l| ["weight", "bias"].map(|kind| format!("{l}.{kind}")));
    let of_block: Vec<String> = layers.chain(own.iter().map(|name| (*name).to_owned())).collect();
    let blocks = (0..about.encoder.depth).flat_map(|i| of_block.iter().map(move |name| format!("blocks.{i}.{name}")));
    let outside = ["patch_embed.proj.weight", "patch_embed.proj.bias"].map(str::to_owned);
    let class: &[&str] = match about {
        Description { learned: Some(_), .. } => &["cls_token", "pos_embed_class"],
        Description { kind: Kind::Mae, .. } => &["cls_token"],
        _ => &[],
    };
    let class = class.iter().map(|name| (*name).to_owned());
    let wanted = outside.into_iter().chain(class).chain(blocks).map(|name| format!("{inner}{name}"));
    wanted.filter(|name| tensors.get(name).is_none()).collect()
}
