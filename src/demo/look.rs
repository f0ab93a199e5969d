//! The demo's curves and pictures.

use std::path::{Path, PathBuf};

use super::plan::{DIRECTION, SHAPE};
use super::{Demo, Error, Model, io, tuning_name};
use crate::config::PretrainKind;
use crate::eval;
use crate::eval::look::{attention, attention_sheet, brightest, middle_clip, off_diagonal, similarity};
use crate::eval::reconstruct::{Shown, reconstruct};
use crate::model::encoder::Family;
use crate::picture::chart::{Map, Panel, Series, draw_maps, draw_panels};
use crate::study::configs::Label;
use crate::study::page::Figure;
use crate::study::probes::STRIDE;
use crate::train::curves::Curves;
use crate::train::pretrain;
use crate::weights::{self, LazyTensor, Tensors};

/// Held-out clips that similarities are averaged over.
const LOOKED_AT: usize = 16;

fn open(path: &Path) -> Result<Tensors<LazyTensor>, Error> {
    Ok(weights::open(path).map_err(eval::Error::from)?.0)
}

impl Demo<'_> {
    fn video(&self, index: usize) -> PathBuf {
        self.configs.sets.join(format!("test/clips/{index:06}.mp4"))
    }

    /// All of the page's figures.
    pub(super) fn figures(&self, teachers: &[PathBuf; 2], models: &[Model]) -> Result<Vec<Figure>, Error> {
        let mut all = self.curves(models)?;
        all.extend(self.reconstructions(teachers)?);
        all.push(self.similarities(teachers, models)?);
        all.extend(self.attentions(teachers, models)?);
        Ok(all)
    }

    /// The logs of a run, under the name of what it is compared as.
    fn logged(&self, run: &str, name: &str) -> Result<Curves, Error> {
        let path = self.out.join("runs").join(run);
        Curves::read(&path, name).map_err(io("read the logs of", &path))
    }

    fn curves(&self, models: &[Model]) -> Result<Vec<Figure>, Error> {
        let chart = |title: &str, x: &str, log, series: Vec<Series>, text: &'static str| -> Result<Figure, Error> {
            let panel = Panel { title: title.to_owned(), x: x.to_owned(), log, series };
            Ok(Figure { title: title.to_owned(), text: text.to_owned(), picture: draw_panels(&[panel], 1, 560, 380)? })
        };
        let losses = |runs: &[(&str, &str)]| -> Result<Vec<Series>, Error> {
            runs.iter().map(|(run, name)| Ok(self.logged(run, name)?.line(|r| r.loss))).collect()
        };
        let tops = |label: Label| -> Result<Vec<Series>, Error> {
            let found = models.iter().filter(|m| m.tuned).map(|model| {
                let curves = self.logged(&tuning_name(model, label), short(model))?;
                Ok(curves.validated("top1"))
            });
            Ok(found.collect::<Result<Vec<_>, Error>>()?.into_iter().flatten().collect())
        };
        Ok(vec![
            chart(
                "teachers: loss on masked pixels",
                "step",
                true,
                losses(&[("image teacher", "image"), ("video teacher", "video"), ("pixels only", "pixels only")])?,
                "Stage one: patches are hidden and their pixels predicted, on frames (image) and on clips (video).",
            )?,
            chart(
                "students: loss on teachers' features",
                "step",
                true,
                losses(&[
                    ("student of the image teacher", "image"),
                    ("student of the video teacher", "video"),
                    ("student of both", "both"),
                ])?,
                "Stage two: the student predicts what the teachers compute at the places that it does not see.",
            )?,
            chart(
                "shape: held-out clips right, %",
                "step",
                false,
                tops(SHAPE)?,
                "Fine-tuning for what one frame shows.",
            )?,
            chart(
                "direction: held-out clips right, %",
                "step",
                false,
                tops(DIRECTION)?,
                "Fine-tuning for what only motion shows.",
            )?,
        ])
    }

    fn reconstructions(&self, teachers: &[PathBuf; 2]) -> Result<Vec<Figure>, Error> {
        let kinds = [(PretrainKind::Image, "image"), (PretrainKind::Video, "video")];
        let one = |((kind, name), path): ((PretrainKind, &str), &PathBuf)| -> Result<Figure, Error> {
            let config = self.configs.pretrain(kind, self.plan.steps.teacher)?;
            let arch = pretrain::arch(&config)?;
            let mask = config.mask.masks(&arch.grid).map_err(eval::Error::from)?;
            let shown = Shown { images: 8, stride: STRIDE, seed: 0 };
            let picture = reconstruct(self.gpu, &arch, &mask, open(path)?, &self.video(0), shown)?;
            Ok(Figure {
                title: format!("what the {name} teacher makes of hidden patches"),
                text: "Rows: the frames, the half of their patches that the teacher saw, what it made of the rest."
                    .to_owned(),
                picture: picture.enlarged(2),
            })
        };
        kinds.into_iter().zip(teachers).map(one).collect()
    }

    fn similarities(&self, [image, video]: &[PathBuf; 2], models: &[Model]) -> Result<Figure, Error> {
        let (grid, test) = (self.plan.sizes.grid(), self.plan.sizes.test);
        let clips = (0..LOOKED_AT.min(test)).map(|i| middle_clip(&self.video(i), &grid, STRIDE));
        let clips = clips.collect::<Result<Vec<_>, _>>()?;
        let mut looked = vec![("image teacher", Family::Mae, image), ("video teacher", Family::VideoMae, video)];
        looked.extend(models.iter().filter_map(|m| Some((short(m), m.kind.family(), m.weights.as_ref()?))));
        let map = |(name, family, path): (&str, Family, &PathBuf)| -> Result<Map, Error> {
            let values = similarity(self.gpu, &self.configs.look(family), &open(path)?, &clips, false)?;
            Ok(Map { title: format!("{name}: {:.2}", off_diagonal(&values)), values })
        };
        let maps = looked.into_iter().map(map).collect::<Result<Vec<_>, Error>>()?;
        Ok(Figure {
            title: "how alike features are from frame to frame".to_owned(),
            text: "Cosine similarity between the features of each two of the clip's four moments, the mean over places \
                   and held-out clips; beside the name the mean between different moments. The paper finds that an image \
                   teacher's features change less from frame to frame than a video teacher's."
                .to_owned(),
            picture: draw_maps(&maps, 2, 46)?,
        })
    }

    fn attentions(&self, [_, video]: &[PathBuf; 2], models: &[Model]) -> Result<Vec<Figure>, Error> {
        let grid = self.plan.sizes.grid();
        let clip = middle_clip(&self.video(1), &grid, STRIDE)?;
        let query = brightest(&clip, &grid);
        let both = models.iter().find(|m| m.key == "both").and_then(|m| m.weights.as_ref());
        let looked = [("the student of both", Family::Mvd, both), ("the video teacher", Family::VideoMae, Some(video))];
        let mut all = Vec::new();
        for (name, family, path) in looked {
            let Some(path) = path else { continue };
            let shares = attention(self.gpu, &self.configs.look(family), &open(path)?, &clip, query)?;
            all.push(Figure {
                title: format!("where {name} looks"),
                text:
                    "The patch in the red frame asks; below, how much it takes from each patch of each moment in the \
                       last block, dark for little, yellow for most."
                        .to_owned(),
                picture: attention_sheet(&clip, &grid, &shares, query).enlarged(3),
            });
        }
        Ok(all)
    }
}

/// A model's name in charts.
fn short(model: &Model) -> &'static str {
    match model.key {
        "scratch" => "from scratch",
        "pixels" => "pixels only",
        "image" => "image student",
        "video" => "video student",
        _ => "student of both",
    }
}
