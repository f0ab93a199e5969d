//! A fine-tuning run's config.

use super::{
    Change, Check, DataConfig, Deserialize, OptimConfig, PathBuf, Problems, SaveConfig, Serialize, Vit, Which,
};
use crate::data::{self, Dataset, KnownClasses, Labels, RandAugment};
use crate::model::encoder::Family;

/// Which frames of a video make a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// A random start, then every stride-th frame.
    Dense,
    /// One frame of each of as many equal segments of the whole video.
    Segment,
}

/// Whose encoder is fine-tuned: they differ in their position tables, and ST-MAE's in more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderKind {
    /// MVD's student.
    Mvd,
    /// VideoMAE.
    Videomae,
    /// ST-MAE.
    StMae,
}

impl EncoderKind {
    /// Its family.
    pub fn family(self) -> Family {
        match self {
            EncoderKind::Mvd => Family::Mvd,
            EncoderKind::Videomae => Family::VideoMae,
            EncoderKind::StMae => Family::StMae,
        }
    }
}

/// What says how many classes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A flag, or a run that has begun.
    Flag,
    /// The config of `--config`.
    Config,
    /// A recipe; names of the set count more.
    Recipe,
    /// Nothing but the set.
    Nowhere,
}

/// A fine-tuning run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// Whose encoder it is.
    pub model: EncoderKind,
    /// Weights of the encoder to start from; empty: from scratch.
    pub init: PathBuf,
    /// What the file holds, `sha256:` and its digest, once a run has begun with it; empty: not yet looked at.
    #[serde(default)]
    pub init_digest: String,
    /// Which of its weights.
    #[serde(default)]
    pub init_which: Which,
    /// Videos to validate on; empty: none.
    pub val: PathBuf,
    /// Classes.
    pub classes: usize,
    /// Names of the classes by index; empty: they have none. An empty name is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Start from the head of `init` too, which is a classifier of the same classes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_head: bool,
    /// Which frames make a clip.
    pub sampling: Sampling,
    /// Clips drawn from a video each time it is decoded, of the same frames, each augmented anew. Batches and learning
    /// rates count videos.
    pub repeats: usize,
    /// Smallest share of a frame's area that a training crop keeps.
    pub crop_min: f64,
    /// RandAugment, as timm writes it; `none`: none.
    pub augment: RandAugment,
    /// Largest change of brightness, contrast and saturation of a clip; 0: none.
    pub color_jitter: f64,
    /// Mirror clips at random.
    pub flip: bool,
    /// Share of clips in which a random region is replaced by noise.
    pub erasing: f64,
    /// Beta's parameter of mixup; 0: none.
    pub mixup: f64,
    /// Beta's parameter of cutmix; 0: none.
    pub cutmix: f64,
    /// Label smoothing.
    pub smoothing: f64,
    /// Factor of the learning rate from one layer to the one below.
    pub layer_decay: f64,
    /// Stochastic depth of the last block.
    pub drop_path: f64,
    /// Dropout before the head.
    pub head_dropout: f64,
    /// Factor of the head's initial weights.
    pub init_scale: f64,
    /// Decay of an average of the weights over steps; 0: none is kept.
    pub ema: f64,
    /// Clips in time of a test.
    pub test_clips: usize,
    /// Crops a clip of a test: 1 or 3.
    pub test_crops: usize,
    /// Seed of weights, data order, crops and dropout.
    pub seed: u64,
    /// Videos and clips.
    pub data: DataConfig,
    /// Optimiser and length.
    pub optim: OptimConfig,
    /// Checkpoints.
    pub save: SaveConfig,
    /// The encoder.
    pub encoder: Vit,
    /// What `--resume` changed since the run began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

impl FinetuneConfig {
    /// The classes that the labels of the run's sets are matched with.
    pub fn known_classes(&self) -> KnownClasses<'_> {
        KnownClasses { classes: self.classes, names: &self.names, owner: "the run" }
    }

    /// Takes the names of the classes from the training set, where it has names and the config has none, and their number,
    /// where nothing else says it. Gives a line where numbers alone do not tell that number.
    ///
    /// # Errors
    /// A set that cannot be read, or has no labels, names of another number of classes, or numbers that nothing counts.
    pub fn take_names(&mut self, counted: Counted) -> data::Result<Option<String>> {
        let DataConfig { path, root, .. } = &self.data;
        if !self.names.is_empty() {
            return Ok(None);
        }
        let root = (!root.as_os_str().is_empty()).then_some(root.as_path());
        let Labels { mut names, numbered, range } = Dataset::labels(path, root)?;
        let (count, classes) = (names.len(), self.classes);
        if count == 0 {
            return range.map_or(Ok(None), |range| self.count(counted, range));
        }
        if numbered && count <= classes && counted != Counted::Nowhere {
            names.resize(classes, String::new());
        }
        let note = (names.len() != classes).then(|| format!("classes: {count}, as {} has", path.display()));
        let stated = matches!(counted, Counted::Flag | Counted::Config);
        if note.is_some() && (stated || (numbered && counted == Counted::Recipe)) {
            return Err(data::Error::Classes { path: path.clone(), names, classes });
        }
        (self.classes, self.names) = (names.len(), names);
        Ok(note)
    }

    /// Holds numbers as labels against the number of classes.
    fn count(&self, counted: Counted, (first, last): (u32, u32)) -> data::Result<Option<String>> {
        let classes = self.classes;
        let said = (counted != Counted::Nowhere).then_some(classes);
        if said.is_none_or(|classes| last as usize >= classes) {
            return Err(data::Error::Uncounted { path: self.data.path.clone(), first, last, classes: said });
        }
        let owner = match counted {
            Counted::Recipe => "recipe",
            Counted::Config => "config",
            Counted::Flag | Counted::Nowhere => return Ok(None),
        };
        let is_other = last as usize + 1 != classes;
        Ok(is_other.then(|| format!("classes: {classes}, of the {owner}; the labels are {first} to {last}")))
    }

    /// All that cannot work, each naming the flag, what was expected and what came.
    ///
    /// # Errors
    /// The list, if there is anything on it.
    pub fn validate(&self) -> Result<(), Problems> {
        let mut check = Check::default();
        self.data.check(&mut check);
        self.optim.check(&mut check);
        self.save.check(&mut check);
        check.seed(self.seed);
        check.vit("--size", &self.encoder, if self.model == EncoderKind::StMae { 1 } else { 16 });
        check.counts(&[("--repeats", self.repeats), ("--test-clips", self.test_clips)]);
        let (classes, crops) = (self.classes, self.test_crops);
        check.need(classes > 1, || format!("--classes: expected at least 2, got {classes}"));
        let names = self.names.len();
        check.need([0, classes].contains(&names), || {
            format!("names: expected {classes}, one for each class, got {names}")
        });
        check.need([1, 3].contains(&crops), || format!("--test-crops: expected 1 or 3, got {crops}"));
        for (flag, value) in [
            ("--smoothing", self.smoothing),
            ("--drop-path", self.drop_path),
            ("--head-dropout", self.head_dropout),
            ("--ema", self.ema),
        ] {
            check.under_1(flag, value);
        }
        for (flag, value) in [
            ("--mixup", self.mixup),
            ("--cutmix", self.cutmix),
            ("--init-scale", self.init_scale),
            ("--color-jitter", self.color_jitter),
        ] {
            check.at_least_0(flag, value);
        }
        check.crop_min(self.crop_min);
        for (flag, value) in [("--erasing", self.erasing), ("--layer-decay", self.layer_decay)] {
            check.need((0.0..=1.0).contains(&value), || format!("{flag}: expected from 0 to 1, got {value}"));
        }
        check.done()
    }
}
