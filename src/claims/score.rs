//! How a claim is decided: differences paired by seed and clip, their standard error, and one rule for all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{Experiment, Plan};

/// What a probe of one label got right.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Percent, by a linear classifier.
    pub linear: f64,
    /// Percent, by a linear classifier that saw few labels a class.
    pub few: f64,
    /// Percent, by the 20 nearest neighbours.
    pub neighbours: f64,
    /// Of the first: 1 for each held-out clip that was right, 0 for the others.
    pub right: String,
}

/// What a cell found; the same on the same adapter, however often it was stopped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Steps of its training; 0 if there was none.
    pub steps: usize,
    /// GFLOP of a step: the student's passes and the teachers' forward passes.
    pub gflop_a_step: f64,
    /// Weights of the image and of the video teacher's loss.
    pub weights: [f64; 2],
    /// Loss, the mean of the last tenth of the steps.
    pub loss: f64,
    /// Norm of the gradient, the mean of the second half.
    pub grad_norm: f64,
    /// By label.
    pub scores: BTreeMap<String, Score>,
    /// Similarity from frame to frame, by what was compared.
    pub similarity: BTreeMap<String, f64>,
}

/// Results by seed and cell.
pub type Results = BTreeMap<u64, BTreeMap<String, Found>>;

/// What the differences say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    DoesNotHold,
    /// More seeds or a longer budget are needed.
    Undecided,
}

impl Verdict {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::DoesNotHold => "does not hold",
            Verdict::Undecided => "is not decided at this budget",
        }
    }

    /// Of a claim that is several comparisons: all must hold, and none may fail.
    pub fn all(parts: impl IntoIterator<Item = Verdict>) -> Verdict {
        let (mut count, mut held, mut failed) = (0, 0, 0);
        for part in parts {
            count += 1;
            held += usize::from(part == Verdict::Holds);
            failed += usize::from(part == Verdict::DoesNotHold);
        }
        match () {
            () if failed > 0 => Verdict::DoesNotHold,
            () if held == count && count > 0 => Verdict::Holds,
            () => Verdict::Undecided,
        }
    }
}

/// Smallest difference that counts, in points.
pub const MARGIN: f64 = 1.0;

/// The rule in words, for the page.
pub const RULE: &str = "Every comparison is paired: the same seed, and so the same clips, initial weights and order. Its number is \
    the mean over seeds of the difference in points. Its standard error is the larger of two: that of the differences over \
    the seeds, and that of the same clips' differences within the seeds. The interval is the mean plus and minus the error \
    times Student's 97.5 % quantile for the number of seeds. A comparison holds if the whole interval is above 0 and the mean \
    is at least 1 point; it does not hold if the whole interval is below 1 point; else it is not decided at this budget. With \
    one seed nothing holds and nothing fails. A claim of several comparisons holds if all of them hold and does not hold if \
    one does not.";

/// Student's 97.5 % quantiles, from one degree of freedom on; the last also for more.
const QUANTILES: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// One against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub name: String,
    /// A difference a seed, in points.
    pub differences: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Its standard error.
    pub error: f64,
    /// That of the same clips' differences alone.
    pub by_clips: f64,
    /// What the rule says.
    pub verdict: Verdict,
}

/// Mean and standard error; the error is 0 of one value.
pub fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

impl Comparison {
    /// Differences by seed, and the standard error of their mean by clips.
    pub fn new(name: String, differences: Vec<f64>, by_clips: f64) -> Comparison {
        let (mean, by_seeds) = mean_and_error(&differences);
        let error = by_seeds.max(by_clips);
        let verdict = match differences.len() {
            0 | 1 => Verdict::Undecided,
            n => {
                let reach = QUANTILES[(n - 2).min(QUANTILES.len() - 1)] * error;
                match mean {
                    mean if mean - reach > 0.0 && mean >= MARGIN => Verdict::Holds,
                    mean if mean + reach < MARGIN => Verdict::DoesNotHold,
                    _ => Verdict::Undecided,
                }
            }
        };
        Comparison { name, differences, mean, error, by_clips, verdict }
    }
}

/// Labels with their weights: what a difference is taken of.
pub type Axis = Vec<(&'static str, f64)>;

fn mean_of(names: Vec<&'static str>, share: f64) -> Axis {
    let each = share / names.len() as f64;
    names.into_iter().map(|name| (name, each)).collect()
}

impl Experiment {
    /// What one frame shows.
    pub fn frame(&self) -> Axis {
        mean_of(self.frame_labels().iter().map(|label| label.name).collect(), 1.0)
    }

    /// What only motion shows: the mean over its labels.
    pub fn motion(&self) -> Axis {
        mean_of(self.motion_labels().iter().map(|label| label.name).collect(), 1.0)
    }

    /// Half the one, half the other.
    pub fn overall(&self) -> Axis {
        let half = |axis: Axis| axis.into_iter().map(|(name, weight)| (name, weight / 2.0));
        half(self.frame()).chain(half(self.motion())).collect()
    }
}

/// Percent of the linear probe on an axis.
pub fn linear_on(found: &Found, axis: &Axis) -> Option<f64> {
    axis.iter().map(|(label, weight)| Some(weight * found.scores.get(*label)?.linear)).sum()
}

/// The difference of two cells of a seed on an axis in points, and its variance over clips.
fn paired(a: &Found, b: &Found, axis: &Axis) -> Option<(f64, f64)> {
    let clips = a.scores.get(axis.first()?.0)?.right.len();
    let mut each = vec![0.0; clips];
    for (label, weight) in axis {
        let (a, b) = (a.scores.get(*label)?.right.bytes(), b.scores.get(*label)?.right.bytes());
        let differences = a.zip(b).map(|(a, b)| 100.0 * weight * (f64::from(a) - f64::from(b)));
        each.iter_mut().zip(differences).for_each(|(each, difference)| *each += difference);
    }
    let (mean, error) = mean_and_error(&each);
    Some((mean, error.powi(2)))
}

/// One cell against another on an axis, over all seeds that have both.
pub fn compare(results: &Results, name: &str, (a, b): (&str, &str), axis: &Axis) -> Comparison {
    let found = results.values().filter_map(|cells| paired(cells.get(a)?, cells.get(b)?, axis));
    let (differences, variances): (Vec<f64>, Vec<f64>) = found.unzip();
    let by_clips = variances.iter().sum::<f64>().sqrt() / variances.len().max(1) as f64;
    Comparison::new(name.to_owned(), differences, by_clips)
}

/// A claim of the paper's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// Its letter.
    pub key: &'static str,
    /// What it says.
    pub text: &'static str,
    /// What is compared for it, as told before any number.
    pub how: &'static str,
    /// What the comparisons say together.
    pub verdict: Verdict,
    /// They decide.
    pub deciding: Vec<Comparison>,
    /// They are worth knowing.
    pub beside: Vec<Comparison>,
}

fn claim(
    key: &'static str,
    [text, how]: [&'static str; 2],
    deciding: Vec<Comparison>,
    beside: Vec<Comparison>,
) -> Claim {
    let verdict = Verdict::all(deciding.iter().map(|c| c.verdict));
    Claim { key, text, how, verdict, deciding, beside }
}

/// One comparison for several budgets: the mean of the differences, a seed.
fn over_budgets(plan: &Plan, each: &[Comparison]) -> Comparison {
    let seeds = each.iter().map(|c| c.differences.len()).min().unwrap_or(0);
    let mean = |seed: usize| each.iter().map(|c| c.differences[seed]).sum::<f64>() / each.len() as f64;
    // The budgets share their held-out clips, so the clips' error does not shrink with their number.
    let by_clips = each.iter().map(|c| c.by_clips).sum::<f64>() / each.len().max(1) as f64;
    let name = format!("balanced student - pixels, mean over {} budgets", plan.experiment.budgets.len());
    Comparison::new(name, (0..seeds).map(mean).collect(), by_clips)
}

/// The paper's claims on these results.
pub fn claims(plan: &Plan, results: &Results) -> Vec<Claim> {
    let of = &plan.experiment;
    let (frame, motion, overall) = (of.frame(), of.motion(), of.overall());
    let versus = |name: &str, a: &str, b: &str, axis: &Axis| compare(results, name, (a, b), axis);
    let [pixels, image, video, both, balanced] = ["pixels-x1", "image-x1", "video-x1", "both-x1", "balanced-x1"];
    let curve: Vec<Comparison> = of
        .budgets
        .iter()
        .map(|budget| {
            let share = of.share(*budget);
            let name = format!("balanced student - pixels, {} steps", plan.scaled(*budget));
            versus(&name, &format!("balanced-{share}"), &format!("pixels-{share}"), &overall)
        })
        .collect();
    let alike = |key: &str| {
        let of_seed = |cells: &BTreeMap<String, Found>| {
            let found = &cells.get("similarity")?.similarity;
            Some(100.0 * (found.get(&format!("image{key}"))? - found.get(&format!("video{key}"))?))
        };
        results.values().filter_map(of_seed).collect::<Vec<f64>>()
    };
    vec![
        claim(
            "a",
            [
                "Predicting teachers' features beats predicting pixels.",
                "The student of the video teacher against the pixel-only model of at least its FLOPs, the mean of what a \
                 frame shows and of what only motion shows.",
            ],
            vec![versus("video student - pixels, overall", video, pixels, &overall)],
            vec![
                versus("video student - pixels, frame", video, pixels, &frame),
                versus("video student - pixels, motion", video, pixels, &motion),
                versus("image student - pixels, frame", image, pixels, &frame),
                versus("image student - pixels, motion", image, pixels, &motion),
            ],
        ),
        claim(
            "b",
            [
                "An image teacher gives spatial, a video teacher temporal strength.",
                "The two students of one teacher against each other: the image teacher's must be better at what a frame \
                 shows, the video teacher's at what only motion shows.",
            ],
            vec![
                versus("image student - video student, frame", image, video, &frame),
                versus("video student - image student, motion", video, image, &motion),
            ],
            Vec::new(),
        ),
        claim(
            "c",
            [
                "Learning from both gets both.",
                "The student of both, its losses balanced by their gradients, against each student of one teacher, the mean \
                 of what a frame shows and of what only motion shows: it must be better than either.",
            ],
            vec![
                versus("balanced student - image student, overall", balanced, image, &overall),
                versus("balanced student - video student, overall", balanced, video, &overall),
            ],
            vec![
                versus("balanced student - video student, frame", balanced, video, &frame),
                versus("balanced student - image student, motion", balanced, image, &motion),
                versus("balanced student - student of 1 : 1, overall", balanced, both, &overall),
            ],
        ),
        claim(
            "d",
            [
                "At equal student compute distillation beats longer pixel training.",
                "The balanced student of both against the pixel-only model of at least its FLOPs, teachers given, the mean \
                 over the budgets of the curve.",
            ],
            vec![over_budgets(plan, &curve)],
            curve,
        ),
        claim(
            "similarity",
            [
                "An image teacher's features change less from frame to frame than a video teacher's.",
                "Mean cosine between the same place's features at different moments, before the last norm, in hundredths.",
            ],
            vec![Comparison::new("image teacher - video teacher".to_owned(), alike(""), 0.0)],
            vec![Comparison::new("the same, features centred".to_owned(), alike(" centred"), 0.0)],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::plan::Costs;
    use super::*;
    use crate::study::timing::Cost;

    fn compared(differences: &[f64], by_clips: f64) -> Verdict {
        Comparison::new("x".to_owned(), differences.to_vec(), by_clips).verdict
    }

    #[test]
    fn verdicts_follow_the_interval() {
        assert_eq!(compared(&[10.0, 12.0, 11.0], 1.0), Verdict::Holds);
        // 4.303 standard errors of the clips reach from 11 to below 0.
        assert_eq!(compared(&[10.0, 12.0, 11.0], 3.0), Verdict::Undecided);
        assert_eq!(compared(&[-5.0, -6.0, -5.5], 0.5), Verdict::DoesNotHold);
        // Sure, but too little to matter.
        assert_eq!(compared(&[0.4, 0.5, 0.6], 0.05), Verdict::DoesNotHold);
        assert_eq!(compared(&[3.0, -4.0, 9.0], 0.5), Verdict::Undecided);
        // One seed decides nothing, whatever it shows; nor does none.
        assert_eq!((compared(&[40.0], 0.1), compared(&[-40.0], 0.1)), (Verdict::Undecided, Verdict::Undecided));
        assert_eq!(compared(&[], 0.0), Verdict::Undecided);
    }

    #[test]
    fn all_parts_of_a_claim_must_hold() {
        use Verdict::{DoesNotHold, Holds, Undecided};
        assert_eq!(Verdict::all([Holds, Holds]), Holds);
        assert_eq!(Verdict::all([Holds, Undecided]), Undecided);
        assert_eq!(Verdict::all([Undecided, DoesNotHold]), DoesNotHold);
        assert_eq!(Verdict::all([]), Undecided);
    }

    /// Draws between 0 and 1 that look random.
    fn noise(index: u64) -> f64 {
        let mixed = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A cell that gets each label right with these chances.
    fn found(chances: [f64; 3], salt: u64) -> Found {
        let score = |(index, (label, chance)): (u64, (&str, f64))| {
            let right: String =
                (0..600u64).map(|i| if noise(salt * 10_000 + index * 1000 + i) < chance { '1' } else { '0' }).collect();
            let linear = right.matches('1').count() as f64 / 6.0;
            (label.to_owned(), Score { linear, few: linear, neighbours: linear, right })
        };
        let labels = ["shape", "direction", "speed"].into_iter().zip(chances);
        Found { scores: (0..).zip(labels).map(score).collect(), ..Found::default() }
    }

    fn plan() -> Plan {
        let cost = Cost { start: 0.0, step: 0.0 };
        let costs = Costs { probe: 0.0, image: cost, video: cost, one: cost, both: cost };
        Plan::new(1.0, 3, 0, Experiment::default(), costs, 1.0)
    }

    /// Verdicts on a table in which students and pixels have these chances.
    fn decided(student: [f64; 3], pixels: [f64; 3], salt: u64) -> Vec<Verdict> {
        let plan = plan();
        let cells = |seed: u64| {
            let mut salt = salt * 1000 + seed * 50;
            let mut of = |name: String, chances| {
                salt += 1;
                (name, found(chances, salt))
            };
            let shares = plan.experiment.budgets.iter().map(|budget| plan.experiment.share(*budget));
            let mut all = BTreeMap::new();
            for share in shares {
                all.extend(["image", "video", "both", "balanced"].map(|name| of(format!("{name}-{share}"), student)));
                all.extend([of(format!("pixels-{share}"), pixels)]);
            }
            (seed, all)
        };
        claims(&plan, &(0..3).map(cells).collect()).iter().map(|claim| claim.verdict).collect()
    }

    /// Teachers of random weights teach nothing that pixels do not: their students are no better, or worse.
    #[test]
    fn students_of_random_teachers_do_not_make_claims_hold() {
        let pixels = [0.765, 0.78, 0.82];
        let held = (0..40).filter(|salt| decided(pixels, pixels, *salt)[0] == Verdict::Holds).count();
        assert!(held <= 2, "{held} of 40 equal tables hold");
        let worse = decided([0.5, 0.45, 0.6], pixels, 99);
        assert_eq!((worse[0], worse[3]), (Verdict::DoesNotHold, Verdict::DoesNotHold), "{worse:?}");
        let better = decided([0.9, 0.85, 0.85], pixels, 98);
        assert_eq!((better[0], better[3]), (Verdict::Holds, Verdict::Holds), "{better:?}");
        // Nothing was compared from frame to frame.
        assert_eq!(better[4], Verdict::Undecided);
    }

    #[test]
    fn differences_are_those_of_the_percentages() {
        let (a, b) = (found([0.9, 0.5, 0.7], 1), found([0.6, 0.6, 0.6], 2));
        let axis = Experiment::default().overall();
        let (mean, variance) = paired(&a, &b, &axis).unwrap();
        let expected = linear_on(&a, &axis).unwrap() - linear_on(&b, &axis).unwrap();
        assert!((mean - expected).abs() < 1e-9 && variance > 0.0, "{mean} {expected}");
        assert_eq!(paired(&a, &Found::default(), &axis), None);
    }
}
