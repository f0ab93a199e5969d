//! `mvd recipes`

use clap::Args;

use super::Failure;
use crate::recipes::{Config, all, recipe};

#[derive(Args)]
pub(super) struct RecipesArgs {
    /// Print this one whole, as TOML for --config.
    name: Option<String>,
}

pub(super) fn run(args: &RecipesArgs) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let recipe = recipe(name)?;
        println!("# {}\n# source: {}\n# published: {}\n", recipe.name, recipe.source, recipe.result);
        print!("{}", toml::to_string(&recipe.config)?);
        return Ok(());
    }
    for recipe in all() {
        let (command, optim) = match &recipe.config {
            Config::Pretrain(c) => ("pretrain", &c.optim),
            Config::Distill(c) => ("distill", &c.optim),
            Config::Finetune(c) => ("finetune", &c.optim),
        };
        let (name, batch, epochs) = (recipe.name, optim.total_batch(), optim.epochs);
        println!("{name:<31} {command:<9} batch {batch:>5}, {epochs:>4} epochs; {}", recipe.result);
    }
    Ok(())
}
