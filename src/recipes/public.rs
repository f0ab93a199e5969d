//! Public weights that fit the published recipes' teachers, by their names on the Hugging Face Hub.

use std::path::Path;

use super::HUGE;
use crate::config::TeacherConfig;

/// Weights that anybody may download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public {
    /// Their name, `hf:owner/name`.
    pub name: &'static str,
    /// Megabytes to download.
    pub megabytes: usize,
    /// What they are beside what the recipe's script names.
    pub about: &'static str,
}

/// What MVD's scripts name as image teachers are the encoders of MAE's repository (`mae_pretrain_vit_*.pth`). timm keeps these;
/// `facebook/vit-mae-*` are others, the ones of MAE's pictures (`mae_visualize_vit_*.pth`).
const MAE: &str =
    "MAE's own encoder (mae_pretrain_vit_*.pth, 1600 epochs of ImageNet-1k), the file that MVD's script names";
const VIDEOMAE: &str =
    "VideoMAE's own model, 1600 epochs of Kinetics-400, as MVD's script names it; its decoder is left out";

pub(super) const MAE_BASE: Public = Public { name: "hf:timm/vit_base_patch16_224.mae", megabytes: 343, about: MAE };
pub(super) const MAE_LARGE: Public = Public { name: "hf:timm/vit_large_patch16_224.mae", megabytes: 1210, about: MAE };
pub(super) const MAE_HUGE: Public = Public { name: "hf:timm/vit_huge_patch14_224.mae", megabytes: 2520, about: MAE };
pub(super) const VIDEOMAE_BASE: Public = Public { name: "hf:MCG-NJU/videomae-base", megabytes: 377, about: VIDEOMAE };
pub(super) const VIDEOMAE_LARGE: Public =
    Public { name: "hf:MCG-NJU/videomae-large", megabytes: 1370, about: VIDEOMAE };

const ALL: [Public; 5] = [MAE_BASE, MAE_LARGE, MAE_HUGE, VIDEOMAE_BASE, VIDEOMAE_LARGE];

/// What is said of a teacher without public weights.
const NONE: &str = "no public weights fit";

/// Why a huge video teacher is asked for.
const NO_HUGE: &str = "no public weights fit: MVD's VideoMAE-H of 1600 epochs is not on the Hub, only its fine-tuned classifier \
                           hf:MCG-NJU/videomae-huge-finetuned-kinetics, whose features have seen labels";

/// A line about what a recipe's teacher is taken from.
pub fn note(teacher: &TeacherConfig) -> String {
    match of(&teacher.weights) {
        Some(Public { name, megabytes, about }) => format!("{name} ({megabytes} MB): {about}"),
        None if teacher.vit == HUGE => NO_HUGE.to_owned(),
        None => NONE.to_owned(),
    }
}

/// The public weights of this name.
pub fn of(weights: &Path) -> Option<Public> {
    ALL.into_iter().find(|public| Path::new(public.name) == weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DistillConfig;
    use crate::recipes::{Config, all};
    use crate::weights::published_heads;

    #[test]
    fn names_are_those_of_models_of_the_recipes_sizes() {
        let mut named = 0;
        for recipe in all() {
            let Config::Distill(DistillConfig { image_teacher, video_teacher, .. }) = recipe.config else { continue };
            for (teacher, owner) in [(image_teacher, "hf:timm/vit_"), (video_teacher, "hf:MCG-NJU/videomae-")] {
                let TeacherConfig { weights, vit, patch, .. } = teacher.unwrap();
                let Some(Public { name, .. }) = of(&weights) else {
                    assert!(weights.as_os_str().is_empty(), "{}: {weights:?} is on no list", recipe.name);
                    continue;
                };
                let size = match vit.dim {
                    768 => "base",
                    1024 => "large",
                    _ => "huge",
                };
                assert!(name.starts_with(owner) && name.contains(size), "{}: {name}", recipe.name);
                assert!(!name.contains("patch") || name.contains(&format!("patch{patch}_")), "{}: {name}", recipe.name);
                assert_eq!(published_heads(vit.dim), Some(vit.heads), "{name}");
                named += 1;
            }
        }
        assert_eq!(named, 13, "two teachers of seven recipes, but for the huge video teacher");
    }
}
