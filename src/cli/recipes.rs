//! `mvd recipes`

use clap::Args;

use super::Failure;
use crate::config::{OptimConfig, PretrainKind, TeacherConfig};
use crate::recipes::{Config, all, public, recipe};

#[derive(Args)]
pub(super) struct RecipesArgs {
    /// Print this one whole, as TOML for --config.
    name: Option<String>,
}

pub(super) fn run(args: &RecipesArgs) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let recipe = recipe(name)?;
        let (command, optim, repeats) = stage(&recipe.config);
        println!("# {}: mvd {command} --recipe {0}, or --config FILE with what follows", recipe.name);
        println!("# source: {}", recipe.source);
        println!("# batch: {} a step; trade `batch` for `accumulate` to fit a GPU", optim.of_step(repeats));
        println!("# expected: {}", recipe.result);
        for (name, teacher) in teachers(&recipe.config) {
            println!("# {name} teacher: {}", public::note(teacher));
        }
        println!();
        print!("{}", toml::to_string(&recipe.config)?);
        return Ok(());
    }
    for recipe in all() {
        let (command, optim, _) = stage(&recipe.config);
        let (name, batch, epochs) = (recipe.name, optim.total_batch(), optim.epochs);
        println!("{name:<31} {command:<14} batch {batch:>5}, {epochs:>4} epochs; {}", recipe.result);
        let teachers = teachers(&recipe.config).map(|(name, teacher)| match public::of(&teacher.weights) {
            Some(public) => format!("{name} teacher {}", public.name),
            None => format!("{name} teacher by --{name}-teacher"),
        });
        let teachers: Vec<String> = teachers.collect();
        if !teachers.is_empty() {
            println!("{:<31} {}", "", teachers.join(", "));
        }
    }
    Ok(())
}

/// The teachers of a recipe of distillation.
fn teachers(config: &Config) -> impl Iterator<Item = (&'static str, &TeacherConfig)> {
    let config = if let Config::Distill(config) = config { Some(config) } else { None };
    let both = config.map(|c| [("image", &c.image_teacher), ("video", &c.video_teacher)]);
    both.into_iter().flatten().filter_map(|(name, teacher)| Some((name, teacher.as_ref()?)))
}

/// The command that takes a recipe, its optimiser, and the clips that a video gives.
fn stage(config: &Config) -> (&'static str, &OptimConfig, usize) {
    match config {
        Config::Pretrain(c) if c.kind == PretrainKind::Image => ("pretrain image", &c.optim, c.repeats),
        Config::Pretrain(c) => ("pretrain video", &c.optim, c.repeats),
        Config::Distill(c) => ("distill", &c.optim, 1),
        Config::Finetune(c) => ("finetune", &c.optim, c.repeats),
    }
}
