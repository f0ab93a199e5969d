//! What is run: cells as plain data in the order of their needs, and how many of them a budget has room for.

use serde::{Deserialize, Serialize};

use crate::config::PretrainKind;
use crate::data::MaskKind;
use crate::data::synth::{Background, Level, SynthConfig};
use crate::model::Vit;
use crate::op::loss::LossKind;
use crate::study::configs::{DIRECTION, Label, ORDER, SPEED, Shapes, shape};
use crate::study::timing::Cost;

/// Sizes and lengths of everything; a budget scales none of them alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// How much varies from clip to clip.
    pub level: Level,
    /// Clips of a seed to train on.
    pub train: usize,
    /// Its clips held out.
    pub test: usize,
    /// Training clips whose labels the probes see.
    pub labelled: usize,
    /// Labels a class of the probes with few labels.
    pub few: usize,
    /// Topics of ablations, from the first.
    pub topics: usize,
    /// Steps of a teacher.
    pub teacher: usize,
    /// Steps of the students that all claims but the curve are about; one of `budgets`.
    pub student: usize,
    /// Steps of the students of the curve, rising.
    pub budgets: Vec<usize>,
    /// Sizes of clips, steps and models.
    pub shapes: Shapes,
    /// Encoder of the larger teachers.
    pub large: Vit,
}

impl Default for Experiment {
    fn default() -> Self {
        let vit = |dim, heads| Vit { dim, depth: 2, heads, mlp_ratio: 4 };
        Experiment {
            level: Level::Easy,
            train: 6000,
            test: 600,
            labelled: 2000,
            few: 20,
            topics: ABLATIONS.len(),
            teacher: 5000,
            student: 500,
            budgets: vec![125, 250, 500, 1000, 2000],
            shapes: Shapes { size: 32, batch: 8, encoder: vit(96, 3), decoder: vit(64, 2) },
            large: vit(192, 6),
        }
    }
}

impl Experiment {
    /// What cannot work, if anything.
    ///
    /// # Errors
    /// What was expected, and what came.
    pub fn check(&self) -> Result<(), String> {
        let counts = [self.train, self.test, self.labelled, self.few, self.teacher, self.student];
        if counts.contains(&0) {
            return Err(format!("train, test, labelled, few, teacher, student: expected over 0, got {counts:?}"));
        }
        let budgets = &self.budgets;
        if !budgets.is_sorted_by(|a, b| a < b) || !budgets.contains(&self.student) || budgets[0] == 0 {
            return Err(format!(
                "budgets: expected rising steps, `student` ({}) among them, got {budgets:?}",
                self.student
            ));
        }
        if self.labelled > self.train {
            return Err(format!("labelled: expected at most `train`, {}, got {}", self.train, self.labelled));
        }
        Ok(())
    }

    /// Labels that one frame shows.
    pub fn frame_labels(&self) -> Vec<Label> {
        vec![shape(self.level)]
    }

    /// Labels that only motion shows.
    pub fn motion_labels(&self) -> Vec<Label> {
        let all = [DIRECTION, SPEED, ORDER];
        all[..if self.level == Level::Full { 3 } else { 2 }].to_vec()
    }

    /// All labels, those of a frame first.
    pub fn labels(&self) -> Vec<Label> {
        [self.frame_labels(), self.motion_labels()].concat()
    }

    /// A set of clips.
    pub fn clips(&self, count: usize, seed: u64) -> SynthConfig {
        let (level, size) = (self.level, self.shapes.size);
        SynthConfig { count, seed, background: Background::Grey, level, frames: 16, size }
    }

    /// A budget's name: its share of the claims' own.
    pub fn share(&self, budget: usize) -> String {
        format!("x{}", budget as f64 / self.student as f64)
    }
}

/// Whom a student learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teachers {
    /// The image teacher.
    Image,
    /// The video teacher.
    Video,
    /// Both, each loss with weight 1.
    Both,
    /// Both, the losses balanced.
    Balanced,
}

impl Teachers {
    /// In names of cells.
    pub fn name(self) -> &'static str {
        match self {
            Teachers::Image => "image",
            Teachers::Video => "video",
            Teachers::Both => "both",
            Teachers::Balanced => "balanced",
        }
    }
}

/// What one ablation changes of the balanced student of both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Share of tokens that are masked.
    MaskRatio(f64),
    /// How they are drawn.
    MaskKind(MaskKind),
    /// Distance to the features.
    Loss(LossKind),
    /// Features as they are.
    PlainFeatures,
    /// The losses balanced by their sizes, not by their gradients.
    ByLoss,
    /// Blocks of a decoder.
    Decoder(usize),
    /// Larger teachers.
    LargeTeachers,
}

/// Ablations by topic. A budget that is too small drops topics from the end.
pub const ABLATIONS: [(&str, &[(&str, Change)]); 7] = [
    ("normalised features", &[("plain-features", Change::PlainFeatures)]),
    ("mask ratio", &[("mask-50", Change::MaskRatio(0.5)), ("mask-90", Change::MaskRatio(0.9))]),
    ("loss", &[("l1", Change::Loss(LossKind::L1)), ("l2", Change::Loss(LossKind::L2))]),
    ("kind of mask", &[("random-mask", Change::MaskKind(MaskKind::Random))]),
    ("rule of balance", &[("balanced-by-loss", Change::ByLoss)]),
    ("decoder depth", &[("decoder-1", Change::Decoder(1)), ("decoder-4", Change::Decoder(4))]),
    ("size of the teachers", &[("large-teachers", Change::LargeTeachers)]),
];

/// What a linear classifier is given in an encoder's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// The clip's pixels.
    Pixels,
    /// One frame's.
    OneFrame,
    /// Differences of frames.
    Differences,
    /// The video teacher's features, with the training labels shuffled.
    Shuffled,
}

/// What a cell does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Writes the seed's clips.
    Set,
    /// Probes something that was not learned.
    Control(Control),
    /// Trains a teacher.
    Teacher(PretrainKind, bool),
    /// Trains on pixels for as many FLOPs as the student of both takes at this budget.
    Pixels(usize),
    /// Trains a student for so many steps.
    Student(Teachers, usize, Option<Change>),
    /// Compares the teachers' features from frame to frame.
    Similarity,
}

/// One piece of work; what it needs are cells of the same seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Seed of its clips, weights and order.
    pub seed: u64,
    /// In folders, and in the table of results.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// Cells that must be done before.
    pub needs: Vec<String>,
}

/// Names of the teachers' cells.
pub fn teacher_name(kind: PretrainKind, large: bool) -> String {
    let kind = if kind == PretrainKind::Image { "image" } else { "video" };
    format!("{kind}-teacher{}", if large { "-large" } else { "" })
}

/// Seconds that things take on the adapter, measured before anything is run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Probes of one encoder.
    pub probe: f64,
    /// The image teacher.
    pub image: Cost,
    /// The video teacher.
    pub video: Cost,
    /// A student of one teacher.
    pub one: Cost,
    /// A student of both.
    pub both: Cost,
}

/// All that fixes the cells; kept as `plan.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The budget.
    pub minutes: f64,
    /// Seeds that were asked for.
    pub asked: usize,
    /// The first of them.
    pub seed: u64,
    /// Seeds that are run.
    pub seeds: usize,
    /// Topics of `ABLATIONS` that are run.
    pub topics: usize,
    /// Factor of all steps; below 1 where one seed alone is too long.
    pub scale: f64,
    /// Steps on pixels that cost as many FLOPs as one of the student of both.
    pub pixel_ratio: f64,
    /// What everything would take here.
    pub full_minutes: f64,
    /// What this plan should take.
    pub expected_minutes: f64,
    /// What was measured.
    pub costs: Costs,
    /// Sizes and lengths.
    pub experiment: Experiment,
}

impl Plan {
    /// What fits into a budget: topics of ablations go first, then seeds; if one seed is still too long, all steps of all
    /// runs are scaled alike.
    pub fn new(minutes: f64, seeds: usize, seed: u64, experiment: Experiment, costs: Costs, pixel_ratio: f64) -> Plan {
        let mut plan = Plan {
            minutes,
            asked: seeds,
            seed,
            seeds,
            topics: experiment.topics.min(ABLATIONS.len()),
            scale: 1.0,
            pixel_ratio,
            full_minutes: 0.0,
            expected_minutes: 0.0,
            costs,
            experiment,
        };
        plan.full_minutes = plan.needed();
        while plan.needed() > minutes && plan.topics > 0 {
            plan.topics -= 1;
        }
        while plan.needed() > minutes && plan.seeds > 1 {
            plan.seeds -= 1;
        }
        if plan.needed() > minutes {
            let whole = plan.needed();
            plan.scale = 0.0;
            let fixed = plan.needed();
            plan.scale = ((minutes - fixed) / (whole - fixed).max(1e-9)).clamp(0.0, 1.0);
        }
        plan.expected_minutes = plan.needed();
        plan
    }

    fn needed(&self) -> f64 {
        self.cells().iter().map(|cell| self.seconds(cell)).sum::<f64>() / 60.0
    }

    /// Steps after scaling.
    pub fn scaled(&self, steps: usize) -> usize {
        ((steps as f64 * self.scale).round() as usize).max(2)
    }

    /// Steps on pixels that take at least the FLOPs of so many of the student of both.
    pub fn pixel_steps(&self, budget: usize) -> usize {
        ((self.scaled(budget) as f64 * self.pixel_ratio).ceil() as usize).max(2)
    }

    /// What a cell is expected to take.
    pub fn seconds(&self, cell: &Cell) -> f64 {
        let (Costs { image, video, one, both, probe }, of) = (self.costs, &self.experiment);
        let wider = (of.large.dim * of.large.depth) as f64 / (of.shapes.encoder.dim * of.shapes.encoder.depth) as f64;
        match cell.work {
            // Some milliseconds a clip.
            Work::Set => 0.003 * (of.train + of.test) as f64,
            Work::Control(_) => 4.0 * probe,
            Work::Similarity => probe,
            Work::Teacher(kind, large) => {
                let cost = if kind == PretrainKind::Image { image } else { video };
                cost.of(self.scaled(of.teacher)) * if large { 1.5 * wider } else { 1.0 }
            }
            Work::Pixels(budget) => video.of(self.pixel_steps(budget)) + probe,
            Work::Student(Teachers::Image | Teachers::Video, budget, _) => one.of(self.scaled(budget)) + probe,
            Work::Student(_, budget, change) => {
                let slower = if change == Some(Change::LargeTeachers) { wider } else { 1.0 };
                both.of(self.scaled(budget)) * slower + probe
            }
        }
    }

    /// The seeds that are run.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.seeds as u64).map(|i| self.seed + i).collect()
    }

    /// All cells, each after those that it needs: every seed's comparisons first, then the ablations.
    pub fn cells(&self) -> Vec<Cell> {
        let core = self.seeds().into_iter().flat_map(|seed| self.core(seed));
        core.chain(self.seeds().into_iter().flat_map(|seed| self.ablations(seed))).collect()
    }

    fn core(&self, seed: u64) -> Vec<Cell> {
        let cell = |name: &str, work, needs: &[&str]| {
            let needs = needs.iter().map(|name| (*name).to_owned()).collect();
            Cell { seed, name: name.to_owned(), work, needs }
        };
        let (image, video) = (teacher_name(PretrainKind::Image, false), teacher_name(PretrainKind::Video, false));
        let (image, video) = (image.as_str(), video.as_str());
        let mut all = vec![
            cell("set", Work::Set, &[]),
            cell(image, Work::Teacher(PretrainKind::Image, false), &["set"]),
            cell(video, Work::Teacher(PretrainKind::Video, false), &["set"]),
            cell("raw-pixels", Work::Control(Control::Pixels), &["set"]),
            cell("one-frame", Work::Control(Control::OneFrame), &["set"]),
            cell("frame-differences", Work::Control(Control::Differences), &["set"]),
            cell("shuffled-labels", Work::Control(Control::Shuffled), &[video]),
            cell("similarity", Work::Similarity, &[image, video]),
        ];
        for budget in self.experiment.budgets.iter().copied() {
            let share = self.experiment.share(budget);
            let named = |what: &str| format!("{what}-{share}");
            let student =
                |of: Teachers, needs: &[&str]| cell(&named(of.name()), Work::Student(of, budget, None), needs);
            all.push(cell(&named("pixels"), Work::Pixels(budget), &["set"]));
            all.push(student(Teachers::Image, &[image]));
            all.push(student(Teachers::Video, &[video]));
            let alone = [named("image"), named("video")];
            all.push(student(Teachers::Balanced, &[image, video, &alone[0], &alone[1]]));
            if budget == self.experiment.student {
                all.push(student(Teachers::Both, &[image, video]));
            }
        }
        all
    }

    fn ablations(&self, seed: u64) -> Vec<Cell> {
        let mut all = Vec::new();
        let (budget, kinds) = (self.experiment.student, [PretrainKind::Image, PretrainKind::Video]);
        for (name, change) in ABLATIONS.iter().take(self.topics).flat_map(|(_, changes)| *changes) {
            let large = *change == Change::LargeTeachers;
            if large {
                all.extend(kinds.map(|kind| {
                    let (name, work) = (teacher_name(kind, true), Work::Teacher(kind, true));
                    Cell { seed, name, work, needs: vec!["set".to_owned()] }
                }));
            }
            let mut needs = vec!["image-x1".to_owned(), "video-x1".to_owned()];
            needs.extend(kinds.map(|kind| teacher_name(kind, large)));
            let work = Work::Student(Teachers::Balanced, budget, Some(*change));
            all.push(Cell { seed, name: (*name).to_owned(), work, needs });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(minutes: f64, seeds: usize) -> Plan {
        let cost = |step| Cost { start: 1.0, step };
        let costs = Costs { probe: 5.0, image: cost(0.04), video: cost(0.05), one: cost(0.06), both: cost(0.08) };
        Plan::new(minutes, seeds, 100, Experiment::default(), costs, 1.7)
    }

    #[test]
    fn every_cell_comes_after_what_it_needs_and_has_a_name_of_its_own() {
        let cells = plan(1e6, 3).cells();
        for (index, cell) in cells.iter().enumerate() {
            let before = |name: &str| cells[..index].iter().any(|c| c.seed == cell.seed && c.name == name);
            assert!(cell.needs.iter().all(|name| before(name)), "{cell:?}");
            assert!(!before(&cell.name), "{cell:?}");
        }
        // Eight, four at each of five budgets, both at equal weights; ten ablations and two larger teachers.
        assert_eq!(cells.len(), 3 * (8 + 4 * 5 + 1 + 12));
        Experiment::default().check().unwrap();
    }

    #[test]
    fn a_budget_drops_ablations_then_seeds_and_shortens_all_alike() {
        let full = plan(1e6, 3);
        assert_eq!((full.seeds, full.topics, full.scale), (3, 7, 1.0));
        let less = plan(0.95 * full.full_minutes, 3);
        assert!(less.seeds == 3 && less.topics < 7 && less.scale == 1.0, "{less:?}");
        let fewer = plan(0.4 * full.full_minutes, 3);
        assert!(fewer.seeds < 3 && fewer.topics == 0 && fewer.scale == 1.0, "{fewer:?}");
        let short = plan(8.0, 3);
        assert!(short.seeds == 1 && short.topics == 0 && short.scale < 1.0, "{short:?}");
        assert!((7.5..8.2).contains(&short.expected_minutes), "{short:?}");
        let ratio = |steps: usize| steps as f64 / short.scaled(steps) as f64;
        assert!((ratio(5000) / ratio(500) - 1.0).abs() < 0.05, "{short:?}");
        assert!(short.pixel_steps(500) as f64 >= 1.7 * short.scaled(500) as f64);
        let text = toml::to_string(&short).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), short);
    }

    #[test]
    fn experiments_that_cannot_work_are_refused() {
        let refused = |experiment: Experiment| experiment.check().unwrap_err();
        let of = Experiment::default;
        assert!(refused(Experiment { few: 0, ..of() }).contains("expected over 0"));
        assert!(refused(Experiment { student: 300, ..of() }).contains("`student` (300) among them"));
        assert!(refused(Experiment { budgets: vec![500, 250], ..of() }).contains("rising"));
        assert!(refused(Experiment { labelled: 7000, ..of() }).contains("at most `train`, 6000, got 7000"));
    }
}
