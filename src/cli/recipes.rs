//! `mvd recipes`

use clap::Args;

use super::Failure;
use crate::config::{OptimConfig, PretrainKind};
use crate::recipes::{Config, all, recipe};

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
        println!("# expected: {}\n", recipe.result);
        print!("{}", toml::to_string(&recipe.config)?);
        return Ok(());
    }
    for recipe in all() {
        let (command, optim, _) = stage(&recipe.config);
        let (name, batch, epochs) = (recipe.name, optim.total_batch(), optim.epochs);
        println!("{name:<31} {command:<14} batch {batch:>5}, {epochs:>4} epochs; {}", recipe.result);
    }
    Ok(())
}

/// The command that takes a recipe, its optimiser, and the clips that a video gives.
fn stage(config: &Config) -> (&'static str, &OptimConfig, usize) {
    match config {
        Config::Pretrain(c) if c.kind == PretrainKind::Image => ("pretrain image", &c.optim, 1),
        Config::Pretrain(c) => ("pretrain video", &c.optim, 1),
        Config::Distill(c) => ("distill", &c.optim, 1),
        Config::Finetune(c) => ("finetune", &c.optim, c.repeats),
    }
}
