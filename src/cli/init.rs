//! `mvd init`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Failure;
use crate::config::size;
use crate::gpu::{Caps, Recorder};
use crate::model::encoder::Family;
use crate::model::teacher::{ImageTeacher, VideoTeacher};
use crate::model::{Grid, Params, Vit};
use crate::weights;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Teacher {
    /// MAE's encoder.
    Image,
    /// VideoMAE's encoder.
    Video,
}

#[derive(Args)]
pub(super) struct InitArgs {
    /// Which teacher.
    #[arg(value_enum)]
    teacher: Teacher,
    /// File to write, safetensors.
    out: PathBuf,
    /// tiny, small, base, large, huge, or dim,depth,heads.
    #[arg(long, default_value = "tiny", value_parser = size)]
    size: Vit,
    /// Height and width of a patch.
    #[arg(long, default_value_t = 8)]
    patch: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    let count = write(args.teacher, &args.out, &args.size, args.patch, args.seed)?;
    println!("wrote {count} random parameters to {}", args.out.display());
    Ok(())
}

/// Writes a teacher's seeded random weights; gives the number of parameters.
fn write(teacher: Teacher, out: &Path, vit: &Vit, patch: usize, seed: u64) -> Result<usize, Failure> {
    if patch == 0 || vit.heads == 0 || !vit.dim.is_multiple_of(vit.heads) {
        return Err(
            format!("--patch {patch}, --size {vit:?}: expected a patch over 0 and heads that divide dim").into()
        );
    }
    let mut rec = Recorder::new(Caps::webgpu_default());
    let mut params = Params::new(&mut rec, "teacher", false);
    let grid = Grid { frames: 2, size: patch, tubelet: 2, patch };
    match teacher {
        Teacher::Image => drop(ImageTeacher::declare(&mut rec, &mut params, vit, &Grid { tubelet: 1, ..grid })),
        Teacher::Video => drop(VideoTeacher::declare(&mut rec, &mut params, Family::VideoMae, vit, &grid)),
    }
    let tensors = weights::drawn(&params.specs, seed);
    weights::save(out, &tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())]))?;
    Ok(tensors.elements())
}
