//! Round trips, and the messages of bad values.

use super::*;
use crate::recipes::{self, Config};

fn trial() -> DistillConfig {
    recipes::distill("mvd-tiny").unwrap()
}

fn message(change: impl FnOnce(&mut DistillConfig)) -> String {
    let mut config = trial();
    change(&mut config);
    config.validate().unwrap_err().to_string()
}

#[test]
fn sizes_have_names_and_numbers() {
    assert_eq!(size("base").unwrap(), Vit { dim: 768, depth: 12, heads: 12, mlp_ratio: 4 });
    assert_eq!(size("192,6,3").unwrap(), Vit { dim: 192, depth: 6, heads: 3, mlp_ratio: 4 });
    let error = size("bas").unwrap_err();
    assert!(error.contains("unknown size `bas`") && error.contains("tiny, small, base"), "{error}");
    assert!(error.ends_with("(did you mean base?)"), "{error}");
}

#[test]
fn every_recipe_is_valid_and_round_trips() {
    fn check<T: PartialEq + fmt::Debug + Serialize + DeserializeOwned>(config: &T, valid: Result<(), Problems>) {
        valid.unwrap_or_else(|e| panic!("{config:?}: {e}"));
        assert_eq!(from_toml::<T>(&toml::to_string(config).unwrap(), "x").unwrap(), *config);
    }
    for recipe in recipes::all() {
        match &recipe.config {
            Config::Pretrain(c) => check(c, c.validate()),
            Config::Distill(c) => check(c, c.validate()),
            Config::Finetune(c) => check(c, c.validate()),
        }
        assert_eq!(recipes::recipe(recipe.name).unwrap(), recipe);
    }
    let error = recipes::distill("mvd-base-from-base").unwrap_err().to_string();
    assert!(error.ends_with("(did you mean mvd-base-from-base-k400?)"), "{error}");
    assert!(recipes::finetune("mvd-tiny").is_err(), "a recipe of another stage");
}

#[test]
fn all_problems_at_once() {
    let got = message(|c| {
        c.mask.ratio = 1.0;
        c.data.frames = 7;
        c.student.heads = 5;
        c.data.input_size = 60;
        c.optim.batch = 0;
    });
    for part in [
        "--mask-ratio: expected between 0 and 1, both excluded, got 1",
        "--frames: expected a multiple of the tubelet, 2, got 7",
        "--student: expected heads that divide dim 128, got 5",
        "--input-size: expected a multiple of the patch, 8, got 60",
        "--image-teacher: its grid of Some(8) patches a side must be the student's, Some(7)",
        "--batch: expected at least 1, got 0",
    ] {
        assert!(got.contains(part), "{part}\n{got}");
    }
}

#[test]
fn single_faults() {
    type Change = fn(&mut DistillConfig);
    let cases: [(Change, &str); 13] = [
        (|c| c.mask.ratio = 0.0, "--mask-ratio: expected between 0 and 1, both excluded, got 0"),
        (|c| c.mask.ratio = f64::NAN, "--mask-ratio: expected between 0 and 1, both excluded, got NaN"),
        (|c| c.mask.ratio = 0.001, "masks some but not all tokens of the grid [4, 8, 8], got 0.001"),
        (|c| c.decoder.dim = 40, "--decoder: expected a dim that is a multiple of 16 (its position table), got 40"),
        (|c| c.optim.min_lr = 1.0, "--min-lr: expected at most --lr, 0.016, got 1"),
        (|c| c.optim.lr = f64::INFINITY, "--lr: expected 0 or more, got inf"),
        (|c| c.optim.betas = [0.9, 1.0], "betas: expected at least 0 and under 1, got 1"),
        (|c| c.optim.eps = 0.0, "eps: expected over 0, got 0"),
        (|c| c.optim.clip_grad = -1.0, "--clip-grad: expected 0 or more, got -1"),
        (|c| c.optim.warmup_epochs = 10.0, "--warmup-epochs: expected fewer than --epochs, 10, got 10"),
        (|c| c.data.threads = 0, "--threads: expected at least 1, got 0"),
        (|c| c.seed = u64::MAX, "--seed: expected at most 9223372036854775807"),
        (|c| (c.image_teacher, c.video_teacher) = (None, None), "expected one of them over 0, got 0 and 0"),
    ];
    for (change, part) in cases {
        let got = message(change);
        assert!(got.contains(part), "{part}\n{got}");
    }
}

#[test]
fn unknown_and_missing_keys() {
    let text = toml::to_string(&trial()).unwrap();
    let parse = |text: &str| from_toml::<DistillConfig>(text, "run.toml").unwrap_err().to_string();
    let got = parse(&text.replace("max_bad", "max_badd"));
    assert!(got.starts_with("run.toml: ") && got.ends_with("(did you mean max_bad?)"), "{got}");
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("drop_path")).collect();
    let got = parse(&without.join("\n"));
    assert!(got.contains("missing field `drop_path`"), "{got}");
    let got = parse(&text.replace("kind = \"tube\"", "kind = \"tub\""));
    assert!(got.contains("tube") && got.contains("random"), "{got}");
}
