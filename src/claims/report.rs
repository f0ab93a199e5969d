//! `claims.json` and `claims.html`: verdicts first, then the tables that they come from.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Took;
use super::plan::{ABLATIONS, Experiment, Plan};
use super::score::{Axis, Claim, Comparison, Found, RULE, Results, Score, Verdict, claims, linear_on, mean_and_error};
use crate::picture::chart::{Panel, Series, draw_panels};
use crate::study::Error;
use crate::study::page::{Figure, Percent, escaped, figures, head, minutes, table, texts};

/// How the weights of the balanced student come about, as told before any number.
const BALANCE: &str = "The balanced student weights the image teacher's loss by g(video) / g(image), and the video teacher's by \
    1, where g is the mean gradient norm of the student of that teacher alone over the second half of a run of the same length: \
    training clips alone, no label, no held-out clip.";

/// All that was found; the same for the same plan and adapter, whatever happened on the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report<'a> {
    seeds: Vec<u64>,
    seeds_asked: usize,
    share_of_steps: f64,
    pixel_steps_a_student_step: f64,
    ablations: Vec<&'static str>,
    experiment: &'a Experiment,
    rule: &'static str,
    balance: &'static str,
    claims: Vec<Claim>,
    results: &'a Results,
}

impl<'a> Report<'a> {
    pub fn new(plan: &'a Plan, results: &'a Results) -> Report<'a> {
        Report {
            seeds: plan.seeds(),
            seeds_asked: plan.asked,
            share_of_steps: plan.scale,
            pixel_steps_a_student_step: plan.pixel_ratio,
            ablations: ABLATIONS.iter().take(plan.topics).map(|(topic, _)| *topic).collect(),
            experiment: &plan.experiment,
            rule: RULE,
            balance: BALANCE,
            claims: claims(plan, results),
            results,
        }
    }

    /// A number of a cell, seed by seed.
    fn each(&self, name: &str, of: impl Fn(&Found) -> Option<f64>) -> Vec<f64> {
        self.results.values().filter_map(|cells| of(cells.get(name)?)).collect()
    }

    /// Its mean, with its standard error where there are several seeds.
    fn percent(&self, name: &str, of: impl Fn(&Found) -> Option<f64>) -> Option<Percent> {
        let values = self.each(name, of);
        let (value, error) = mean_and_error(&values);
        (!values.is_empty()).then_some(Percent { value, error: (values.len() > 1).then_some(error) })
    }

    /// A row of percentages, a label each.
    fn row(&self, name: &str, of: fn(&Score) -> f64) -> Vec<Option<Percent>> {
        let labels = self.experiment.labels();
        labels.iter().map(|label| self.percent(name, |found| found.scores.get(label.name).map(of))).collect()
    }
}

/// Cells of the main table, with what they are called.
const ENCODERS: [(&str, &str); 6] = [
    ("pixels-x1", "pixels only"),
    ("image-x1", "student of the image teacher"),
    ("video-x1", "student of the video teacher"),
    ("both-x1", "student of both, 1 : 1"),
    ("balanced-x1", "student of both, balanced"),
    ("video-teacher", "the video teacher itself"),
];
/// Of the table of controls.
const CONTROLS: [(&str, &str); 4] = [
    ("raw-pixels", "pixels of the clip, halved in size"),
    ("one-frame", "pixels of one frame"),
    ("frame-differences", "differences of frames, halved in size"),
    ("shuffled-labels", "the video teacher's features, training labels shuffled"),
];

fn verdict(verdict: Verdict) -> String {
    let words = verdict.words();
    if verdict == Verdict::Undecided { words.to_owned() } else { format!("<b>{words}</b>") }
}

fn difference(c: &Comparison) -> String {
    let each: Vec<String> = c.differences.iter().map(|d| format!("{d:+.1}")).collect();
    format!("{:+.1} &plusmn; {:.1} <span class=\"facts\">({})</span>", c.mean, c.error, each.join(", "))
}

/// What was published, beside what came out here.
fn beside_the_paper(out: &mut String, report: &Report<'_>) {
    const PUBLISHED: [(&str, &str); 5] = [
        (
            "a",
            "ViT-L on Kinetics-400 86.4, VideoMAE 85.2; on Something-Something v2 76.7, VideoMAE 74.3 (top-1 %, fine-tuned)",
        ),
        ("b", "said of its ablations: video teachers for temporally-heavy, image teachers for spatially-heavy tasks"),
        ("c", "said of its ablations: co-teaching beats a single teacher on several sets"),
        ("d", "ViT-B after 400 epochs of distillation: Kinetics-400 82.7, Something-Something v2 72.5"),
        ("similarity", "shown as a figure, without a number"),
    ];
    let found = |key: &str| report.claims.iter().find(|claim| claim.key == key);
    let row = |(key, published): (&str, &str)| {
        let claim = found(key)?;
        let here: Vec<String> = claim.deciding.iter().map(|c| format!("{}: {}", c.name, difference(c))).collect();
        Some(vec![claim.text.to_owned(), published.to_owned(), here.join("<br>")])
    };
    let rows: Vec<Vec<String>> = PUBLISHED.into_iter().filter_map(row).collect();
    out.push_str("<h2>Beside the paper</h2>\n<p>Other models, other clips, other measures: the sign is comparable, the size is not.</p>\n");
    texts(out, &["claim", "the paper", "here, points"], &rows);
}

fn intro(out: &mut String, plan: &Plan, report: &Report<'_>) {
    let (of, steps) = (&plan.experiment, |steps| plan.scaled(steps));
    let names = |labels: &[crate::study::configs::Label]| labels.iter().map(|l| l.name).collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        out,
        "<p>Teachers learn from pixels for long, students from their features for short, as in the paper. What a frozen encoder \
         knows is read by a linear classifier on the mean of its features: labels that one frame shows (<b>{}</b>), and labels \
         that only motion shows (<b>{}</b>).</p>",
        names(&of.frame_labels()),
        names(&of.motion_labels())
    );
    let scaled = if plan.scale < 1.0 {
        format!(
            " One seed alone was too long for the budget: all runs have {:.1} % of their steps.",
            100.0 * plan.scale
        )
    } else {
        String::new()
    };
    let dropped: Vec<&str> = ABLATIONS[plan.topics..].iter().map(|(topic, _)| *topic).collect();
    let dropped = if dropped.is_empty() { String::new() } else { format!(" Left out: {}.", dropped.join(", ")) };
    let _ = writeln!(
        out,
        "<p class=\"facts\">{} of {} seeds, the first {}; each its own {} clips to train on, {} held out, {} labels for the probes. \
         {size} x {size} pixels, encoders of {} channels, {} blocks, {} clips a step; {} steps a teacher, {} a student. The \
         pixel-only model takes {:.2} steps for each of the student of both, so that it has at least its FLOPs, the teachers' \
         forward passes among them.{scaled}{dropped}</p>",
        report.seeds.len(),
        plan.asked,
        plan.seed,
        of.train,
        of.test,
        of.labelled,
        of.shapes.encoder.dim,
        of.shapes.encoder.depth,
        of.shapes.batch,
        steps(of.teacher),
        steps(of.student),
        plan.pixel_ratio,
        size = of.shapes.size,
    );
}

fn verdicts(out: &mut String, report: &Report<'_>) {
    let _ = writeln!(out, "<h2>How a claim is decided</h2>\n<p>{RULE}</p>\n<p>{BALANCE}</p>\n<ul>");
    for claim in &report.claims {
        let _ = writeln!(out, "<li><b>{}</b>: {}</li>", claim.key, claim.how);
    }
    out.push_str("</ul>\n<h2>Verdicts</h2>\n");
    let row = |claim: &Claim| {
        let numbers: Vec<String> = claim.deciding.iter().map(|c| format!("{}: {}", c.name, difference(c))).collect();
        vec![format!("{} {}", claim.key, claim.text), verdict(claim.verdict), numbers.join("<br>")]
    };
    let rows: Vec<Vec<String>> = report.claims.iter().map(row).collect();
    texts(out, &["claim", "verdict", "difference, points, and by seed"], &rows);
    out.push_str("<h2>Every comparison</h2>\n");
    let all = report.claims.iter().flat_map(|claim| {
        let of = |c: &Comparison, decides: &str| {
            vec![format!("{} {}", claim.key, c.name), difference(c), verdict(c.verdict), decides.to_owned()]
        };
        let deciding: Vec<Vec<String>> = claim.deciding.iter().map(|c| of(c, "yes")).collect();
        [deciding, claim.beside.iter().map(|c| of(c, "")).collect()].concat()
    });
    texts(out, &["comparison", "difference, points", "verdict", "decides"], &all.collect::<Vec<_>>());
}

fn tables(out: &mut String, report: &Report<'_>) {
    let labels = report.experiment.labels();
    let heads: Vec<String> = labels.iter().map(|l| format!("{} ({})", l.name, l.classes)).collect();
    let chance: Vec<usize> = labels.iter().map(|l| l.classes).collect();
    let few = format!("A linear classifier of {} labels a class", report.experiment.few);
    for (title, of) in [
        ("Frozen: a linear classifier, held-out clips right", (|s| s.linear) as fn(&Score) -> f64),
        (few.as_str(), |s| s.few),
        ("The 20 nearest neighbours", |s| s.neighbours),
    ] {
        let _ = writeln!(out, "<h2>{title}</h2>");
        table(out, &heads, &ENCODERS.map(|(cell, name)| (name, report.row(cell, of))), &chance);
    }
    out.push_str(
        "<h2>Controls: the linear classifier on what was not learned</h2>\n<p>One frame must tell nothing of motion; shuffled \
         labels must leave every label at chance.</p>\n",
    );
    table(out, &heads, &CONTROLS.map(|(cell, name)| (name, report.row(cell, |s| s.linear))), &chance);
    if !report.ablations.is_empty() {
        out.push_str("<h2>Ablations of the balanced student</h2>\n<p>One change each, all else alike.</p>\n");
        let changes = ABLATIONS.iter().take(report.ablations.len()).flat_map(|(_, changes)| *changes);
        let mut rows = vec![("none", report.row("balanced-x1", |s| s.linear))];
        rows.extend(changes.map(|(name, _)| (*name, report.row(name, |s| s.linear))));
        table(out, &heads, &rows, &chance);
    }
}

/// Accuracy against compute for what a frame shows and for what only motion shows.
fn curves(report: &Report<'_>) -> Result<Figure, Error> {
    let lines = [
        ("pixels", "pixels only"),
        ("image", "image student"),
        ("video", "video student"),
        ("balanced", "student of both"),
    ];
    let panel = |title: &str, axis: &Axis| {
        let series = lines.iter().map(|(cell, name)| {
            let mut series = Series { name: (*name).to_owned(), ..Series::default() };
            for budget in &report.experiment.budgets {
                let cell = format!("{cell}-{}", report.experiment.share(*budget));
                let compute = mean_and_error(&report.each(&cell, |f| Some(f.steps as f64 * f.gflop_a_step))).0;
                if let Some(Percent { value, error }) = report.percent(&cell, |f| linear_on(f, axis)) {
                    series.points.push((compute.max(1e-9).log10(), value));
                    series.errors.push(error.unwrap_or(0.0));
                }
            }
            series
        });
        Panel {
            title: format!("{title}: right, %"),
            x: "log10 of GFLOP".to_owned(),
            log: false,
            series: series.collect(),
        }
    };
    let panels =
        [panel("what a frame shows", &report.experiment.frame()), panel("motion", &report.experiment.motion())];
    Ok(Figure {
        title: "accuracy against compute".to_owned(),
        text: "FLOPs of all steps, the teachers' forward passes among them, their training not. Bars: standard errors over \
               seeds. The video teacher's own row above is what pixels come to when teachers are paid for."
            .to_owned(),
        picture: draw_panels(&panels, 1, 560, 380)?,
    })
}

/// What was run, where and for how long.
fn runs(out: &mut String, plan: &Plan, report: &Report<'_>, times: &BTreeMap<(u64, String), Option<Took>>) {
    let mut by_adapter: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for took in times.values().flatten() {
        let sum = by_adapter.entry(&took.adapter).or_default();
        *sum = (sum.0 + 1, sum.1 + took.seconds);
    }
    out.push_str("<h2>What was run</h2>\n<ul>\n");
    for (adapter, (cells, seconds)) in by_adapter {
        let took = minutes(Duration::from_secs_f64(seconds));
        let _ = writeln!(out, "<li>{cells} cells on {}, {took}</li>", escaped(adapter));
    }
    out.push_str("</ul>\n");
    let seed = plan.seed;
    let row = |(name, found): (&String, &Found)| {
        let took = times.get(&(seed, name.clone())).and_then(Option::as_ref);
        let total = found.steps as f64 * found.gflop_a_step;
        (found.steps > 0).then(|| {
            vec![
                name.clone(),
                found.steps.to_string(),
                format!("{total:.0}"),
                format!("{:.3}", found.loss),
                format!("{:.3} : {:.0}", found.weights[0], found.weights[1]),
                took.map_or_else(|| "-".to_owned(), |t| minutes(Duration::from_secs_f64(t.seconds))),
            ]
        })
    };
    let rows: Vec<Vec<String>> = report.results.get(&seed).into_iter().flatten().filter_map(row).collect();
    let _ = writeln!(out, "<p>Runs of seed {seed}; other seeds' are alike.</p>");
    texts(out, &["run", "steps", "GFLOP", "last loss", "weights, image : video", "took"], &rows);
}

/// The page as HTML.
pub(super) fn render(
    plan: &Plan,
    report: &Report<'_>,
    times: &BTreeMap<(u64, String), Option<Took>>,
) -> Result<String, Error> {
    let mut out = String::new();
    head(&mut out, "Masked video distillation: the paper's claims", "The paper's claims, in miniature");
    intro(&mut out, plan, report);
    verdicts(&mut out, report);
    tables(&mut out, report);
    out.push_str("<h2>Curves</h2>\n");
    figures(&mut out, &[curves(report)?])?;
    beside_the_paper(&mut out, report);
    runs(&mut out, plan, report, times);
    let Plan { minutes, asked, seed, .. } = plan;
    let _ = writeln!(
        out,
        "<h2>Again</h2>\n<p><code>mvd claims --minutes {minutes} --seeds {asked} --seed {seed}</code>; all numbers lie in \
         <code>claims.json</code> beside this page, runs and logs in the seeds' folders.</p>\n</body>\n</html>"
    );
    Ok(out)
}
