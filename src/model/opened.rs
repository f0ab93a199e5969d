//! A model from any weight file: what it is, and from where each of its facts is known. What `mvd inspect` prints is what
//! every command uses.

use std::path::Path;

use serde_json::Value;

use super::beside::{Beside, run_config};
use super::classifier::{ClassifierArch, Pooling};
use super::encoder::Family;
pub use super::known::Known;
use super::{Grid, Vit, hf_config};
use crate::op::layer_norm::EPS;
use crate::weights::stored::{self, Stored};
use crate::weights::{
    self, Copies, Description, Error, Import, Kind, LazyTensor, Origin, Result, Spec, Stack, TensorSource, Tensors,
    describe, published_heads,
};

/// PyTorch's default, which `transformers` leaves to the norm before a head.
const TRANSFORMERS_EPS: f32 = 1e-5;
/// What `transformers` takes for `layer_norm_eps` where a config has none.
const VIDEOMAE_EPS: f64 = 1e-12;
/// Layers of a block that the models here have.
const LAYERS: [&str; 9] = [
    "norm1.",
    "norm2.",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.q_bias",
    "attn.v_bias",
    "attn.proj.",
    "mlp.fc1.",
    "mlp.fc2.",
];
/// What ST-MAE's blocks have beside them.
const SEPARATE: [&str; 3] = ["attn.q.", "attn.k.", "attn.v."];

/// Facts given by flags.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given {
    /// Whose model it is.
    pub family: Option<Family>,
    /// Attention heads.
    pub heads: Option<usize>,
    /// Frames of a clip.
    pub frames: Option<usize>,
    /// Frames of the video from one of the clip's to the next.
    pub stride: Option<usize>,
    /// Height and width of the frames.
    pub size: Option<usize>,
    /// Which weights, where a file has several.
    pub copies: Copies,
}

/// A model and what is known of it.
#[derive(Debug)]
pub struct Opened {
    /// Its tensors under official names, without wrappers.
    pub tensors: Tensors<LazyTensor>,
    /// What the file is.
    pub origin: Origin,
    /// What the tensors tell.
    pub about: Description,
    /// Whose model it is, and so its position table; none where nothing tells.
    pub family: Option<Known<Family>>,
    /// Attention heads by flag or config, see [`Opened::heads`].
    told_heads: Option<Known<usize>>,
    /// Frames of a clip.
    pub frames: Known<usize>,
    /// Frames of the video from one of the clip's to the next.
    pub stride: Known<usize>,
    /// Height and width of the frames.
    pub size: Known<usize>,
    /// How a classifier makes one vector of a clip's tokens.
    pub pooling: Known<Pooling>,
    /// Names of the classes by index, if they have any; an empty one is not known.
    pub names: Option<Known<Vec<String>>>,
    /// The `config.toml` of the run that it lies in; empty if it lies in none.
    pub run: toml::Table,
    /// The `config.json` beside it; null if there is none.
    pub config: Value,
    /// What the blocks' norms add to the variance.
    eps: f32,
}

impl Opened {
    /// Opens what a path means: a run, a weight file, a folder of Hugging Face's, `hf:owner/name`.
    ///
    /// # Errors
    /// A file that cannot be read or is of no model known, a config beside it that contradicts its tensors, or a family given that
    /// is not the file's: no model gets another's position table.
    pub fn open(path: &Path, given: &Given) -> Result<Opened> {
        let (tensors, origin) = weights::open_model(path, given.copies)?;
        let unknown = |what: String| Error::Unknown { path: path.to_path_buf(), what };
        let about = describe(&tensors).ok_or_else(|| Error::NoModel {
            path: path.to_path_buf(),
            tensors: tensors.len(),
            some: tensors.iter().take(3).map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        })?;
        let (run, _) = run_config(&origin.path)?;
        let config = hf_config::read(&origin.path)?;
        hf_config::check(&config, &origin.path, &about, &tensors)?;
        let beside = Beside { run: &run, config: &config, about: &about };
        let table = tensors.get(&format!("{}pos_embed", about.inner())).map(LazyTensor::host).transpose()?;
        let table = table.as_ref().and_then(stored::recognise);
        let family = match (given.family, beside.family(table, &origin)) {
            (Some(given), Some(known)) if given != known.value => {
                let (asked, is) = (given.name(), known.value.name());
                return Err(unknown(format!(
                    "expected a model of {asked}, got one of {is} ({}), whose position table is another: {}",
                    known.from,
                    known.value.table_name()
                )));
            }
            (Some(given), None) => Some(Known::new(given, "--model")),
            (_, known) => known,
        };
        let mae = about.kind == Kind::Mae;
        let (stored_frames, stored_side) = match table {
            _ if about.learned.is_some() => {
                let [times, places] = about.learned.unwrap_or_default();
                (Some(times * about.tubelet), Some(places.isqrt()).filter(|side| side * side == places))
            }
            Some(Stored::Sincos3d { frames, side }) => (Some(frames * about.tubelet), Some(side)),
            Some(Stored::Sincos2d { side, .. }) => (None, Some(side)),
            _ => (None, None),
        };
        let usual = |known: Option<Known<usize>>, stored: Option<usize>, usual: usize| {
            let of_table = stored.map(|value| Known::new(value, "its stored pos_embed"));
            known.or(of_table).unwrap_or_else(|| Known::new(usual, "as published"))
        };
        let heads = [("encoder", "heads"), ("student", "heads")];
        let told_heads = beside.number(("--heads", given.heads), heads, "num_attention_heads");
        // An image model's own clips are single frames.
        let data = |key| if mae { [("", ""); 2] } else { [("data", key); 2] };
        let frames = beside.number(("--frames", given.frames), data("frames"), if mae { "" } else { "num_frames" });
        let stride = beside.number(("--stride", given.stride), data("stride"), "");
        let size = beside.number(("--input-size", given.size), [("data", "input_size"); 2], "image_size");
        let eps = match config["model_type"].as_str() {
            Some("videomae") => config["layer_norm_eps"].as_f64().unwrap_or(VIDEOMAE_EPS) as f32,
            _ => EPS,
        };
        Ok(Opened {
            family,
            told_heads,
            frames: usual(frames, stored_frames, 16),
            stride: usual(stride, None, 4),
            size: usual(size, stored_side.map(|side| side * about.patch), 224),
            pooling: beside.pooling(&tensors),
            names: beside.names(),
            tensors,
            origin,
            about,
            run,
            config,
            eps,
        })
    }

    fn unknown(&self, what: impl Into<String>) -> Error {
        Error::Unknown { path: self.origin.path.clone(), what: what.into() }
    }

    /// What is wrong with a fact: by the flag that gave it, else by who says it, and the flag that says another.
    fn blamed(&self, flag: &str, from: &str, told: &str) -> Error {
        let way = if flag == from { String::new() } else { format!("; {flag} says another") };
        self.unknown(format!("{from}: {told}{way}"))
    }

    /// Tensors within blocks that no model here has, such as LayerScale's.
    pub fn strange(&self) -> Vec<&str> {
        let blocks = format!("{}blocks.", self.about.inner());
        let strange = |name: &&str| {
            let of_block = name.strip_prefix(blocks.as_str()).and_then(|rest| rest.split_once('.'));
            let known = LAYERS.iter().chain(SEPARATE.iter().filter(|_| self.about.learned.is_some()));
            of_block.is_some_and(|(_, layer)| !known.clone().any(|known| layer.starts_with(known)))
        };
        self.tensors.iter().map(|(name, _)| name).filter(strange).collect()
    }

    /// Whose model it is.
    ///
    /// # Errors
    /// Nothing tells; `--model` is asked for.
    pub fn family(&self) -> Result<Family> {
        let family = self.family.as_ref().map(|known| known.value);
        family.ok_or_else(|| {
            self.unknown(
                "a clip model under names that MVD and VideoMAE share, and nothing says whose position table it has; \
                 say --model mvd or --model videomae",
            )
        })
    }

    /// Attention heads: by flag, the run's config, `config.json`, else those of the published model of this width; none
    /// where there is none.
    pub fn heads(&self) -> Option<Known<usize>> {
        let dim = self.about.encoder.dim;
        let published =
            || published_heads(dim).map(|heads| Known::new(heads, format!("the published model of width {dim}")));
        self.told_heads.clone().or_else(published)
    }

    /// Holds heads that a training was given against those that the file's own config says.
    ///
    /// # Errors
    /// They differ; `flag` is named.
    pub fn expect_heads(&self, vit: &Vit, flag: &str) -> Result<()> {
        match &self.told_heads {
            Some(Known { value, from }) if *value != vit.heads && vit.dim == self.about.encoder.dim => {
                let got = vit.heads;
                Err(self.unknown(format!("{flag}: expected {value} attention heads as {from} says, got {got}")))
            }
            _ => Ok(()),
        }
    }

    /// The same with heads that `--heads` gives.
    ///
    /// # Errors
    /// The file's own config says others.
    pub fn with_heads(self, heads: usize) -> Result<Opened> {
        let Stack { dim, depth } = self.about.encoder;
        self.expect_heads(&Vit { dim, depth, heads, mlp_ratio: 4 }, "--heads")?;
        Ok(Opened { told_heads: Some(Known::new(heads, "--heads")), ..self })
    }

    /// The encoder's shape.
    ///
    /// # Errors
    /// Heads that nothing tells or that do not divide the width; tensors of another kind of block.
    pub fn vit(&self) -> Result<Vit> {
        let Stack { dim, depth } = self.about.encoder;
        let strange = self.strange();
        if let Some(first) = strange.first() {
            let more = strange.len() - 1;
            return Err(self.unknown(format!("blocks that mvd does not compute: {first} and {more} more such tensors")));
        }
        let Some(Known { value: heads, from }) = self.heads() else {
            return Err(self.unknown(format!(
                "no published model has its width, {dim}, and neither a run's config.toml nor a config.json says its \
                 number of attention heads; say --heads"
            )));
        };
        if heads == 0 || !dim.is_multiple_of(heads) {
            return Err(self.blamed("--heads", &from, &format!("expected one that divides {dim}, got {heads}")));
        }
        let hidden = self.tensors.get(&format!("{}blocks.0.mlp.fc1.bias", self.about.inner()));
        let mlp_ratio = hidden.map_or(4, |bias| bias.elements() / dim.max(1)).max(1);
        Ok(Vit { dim, depth, heads, mlp_ratio })
    }

    /// How clips are cut. An image model's tokens are those of every second frame, as the distillation takes them.
    ///
    /// # Errors
    /// Frames or a size that are no multiple of a token's.
    pub fn grid(&self) -> Result<Grid> {
        let tubelet = if self.about.kind == Kind::Mae { 2 } else { self.about.tubelet };
        let (frames, size, patch) = (self.frames.value, self.size.value, self.about.patch);
        for (flag, Known { value, from }, unit) in
            [("--frames", &self.frames, tubelet), ("--input-size", &self.size, patch)]
        {
            if *value == 0 || unit == 0 || !value.is_multiple_of(unit) {
                return Err(self.blamed(flag, from, &format!("expected a multiple of {unit}, got {value}")));
            }
        }
        if self.stride.value == 0 {
            return Err(self.unknown("--stride: expected at least 1, got 0"));
        }
        let grid = Grid { frames, size, tubelet, patch };
        self.expect_grid(&grid)?;
        Ok(grid)
    }

    /// Holds a grid against that of learned position tables, which fit no other.
    ///
    /// # Errors
    /// Clips of another number of frames or size.
    pub fn expect_grid(&self, grid: &Grid) -> Result<()> {
        let Some([times, places]) = self.about.learned else { return Ok(()) };
        let [t, h, w] = grid.tokens();
        if [t, h * w] == [times, places] {
            return Ok(());
        }
        Err(self.unknown(format!(
            "--frames, --input-size: expected clips of {times} x {places} tokens (moments x places), as its learned position \
             tables have, got {t} x {}: {} frames of {} pixels",
            h * w,
            grid.frames,
            grid.size
        )))
    }

    /// The shapes of its classifier, or of its encoder with a head that is not looked at.
    ///
    /// # Errors
    /// What is not known of it; an image model.
    pub fn classifier(&self, batch: usize) -> Result<ClassifierArch> {
        let family = self.family()?;
        if family == Family::Mae {
            return Err(self.unknown("expected a model of clips, got an MAE, which sees single frames"));
        }
        let theirs = self.origin.hugging_face || self.config["model_type"] == "videomae";
        let plain = ClassifierArch::plain(family, self.vit()?, self.grid()?, self.about.classes.unwrap_or(2), batch);
        let pooling = self.pooling.value;
        let eps = match pooling {
            Pooling::Mean if theirs => TRANSFORMERS_EPS,
            Pooling::Mean | Pooling::MeanNorm => EPS,
            Pooling::First => self.eps,
        };
        Ok(ClassifierArch { eps, block_eps: self.eps, pooling, ..plain })
    }

    /// A class's name, or its index where it has none.
    pub fn class_name(&self, class: usize) -> String {
        let name = self.names.as_ref().and_then(|known| known.value.get(class)).filter(|name| !name.is_empty());
        name.map_or_else(|| class.to_string(), Clone::clone)
    }

    /// What the blocks' norms add to the variance.
    pub fn block_eps(&self) -> f32 {
        self.eps
    }

    /// What of `specs` it has. Names of the encoder stand under `prefix` there; `missing` are patterns of what may be
    /// missing. Tensors outside the encoder that are not wanted are left.
    ///
    /// # Errors
    /// All tensors that are missing, of another shape, or of the encoder and not wanted.
    pub fn adopt(&self, specs: &[Spec], prefix: &str, missing: &[&str]) -> Result<Tensors<LazyTensor>> {
        let encoder = ["patch_embed.", "blocks.", "cls_token", "pos_embed"];
        let inner = self.about.inner();
        let wanted = |name: &str| {
            encoder.iter().any(|start| name.starts_with(start))
                || specs.iter().any(|spec| spec.name.strip_prefix(prefix) == Some(name))
        };
        let own = self.tensors.iter().filter(|(name, _)| name.strip_prefix(inner).is_some_and(wanted));
        let own = own.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        let rules = Import {
            select: inner.to_owned(),
            // ST-MAE's are parameters.
            drop: if self.about.learned.is_some() { Vec::new() } else { vec!["pos_embed*".to_owned()] },
            prefix: prefix.to_owned(),
            allow_missing: missing.iter().map(|pattern| (*pattern).to_owned()).collect(),
            ..Import::exact()
        };
        weights::adopt(own, specs, &rules, &self.origin.path)
    }
}
