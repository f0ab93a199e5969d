//! The demo's page: one file, nothing loaded from elsewhere, no script.

use std::fmt::Write as _;
use std::time::Duration;

use super::Error;
use super::plan::{DIRECTION, LABELS, Plan, SHAPE};
use crate::study::page::{Figure, escaped, figures, head, minutes, table};

/// One model's results, in percent of the held-out clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The model.
    pub name: &'static str,
    /// Fine-tuned for shape, for direction; none of a student of one teacher.
    pub tuned: Option<[f64; 2]>,
    /// A linear classifier on its frozen features, for each label; none of a model that starts from scratch.
    pub probed: Option<[f64; LABELS.len()]>,
}

/// All that the page tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What it ran on.
    pub adapter: String,
    /// The runs.
    pub plan: Plan,
    /// The budget.
    pub minutes: f64,
    /// Time this took.
    pub took: Duration,
    /// Part of it had been done before.
    pub resumed: bool,
    /// From scratch, pixels only, students of the image teacher, the video teacher, both.
    pub rows: Vec<Row>,
    /// Pictures.
    pub figures: Vec<Figure>,
}

/// How two shares of the held-out clips compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    Better,
    Worse,
    /// Less than two standard errors apart.
    Alike,
}

fn compare(a: f64, b: f64, clips: usize) -> Compared {
    let variance = |p: f64| p / 100.0 * (1.0 - p / 100.0) / clips as f64;
    let error = 100.0 * (variance(a) + variance(b)).sqrt();
    match a - b {
        d if d > 2.0 * error => Compared::Better,
        d if d < -2.0 * error => Compared::Worse,
        _ => Compared::Alike,
    }
}

/// What the rows say, and what they do not.
fn findings(page: &Page) -> Vec<String> {
    let [scratch, pixels, image, video, both] = &page.rows[..] else { return Vec::new() };
    let (test, steps) = (page.plan.sizes.test, page.plan.steps.tuning);
    let mut all = Vec::new();
    if let (Some(scratch), Some(pixels), Some(both)) = (scratch.tuned, pixels.tuned, both.tuned) {
        for (label, what, index) in [("Shape", "one frame shows", 0), ("Direction", "no single frame shows", 1)] {
            let [a, b, c] = [both, scratch, pixels].map(|tuned| tuned[index]);
            let verdict = match compare(a, b, test) {
                Compared::Better => "distillation helped.",
                Compared::Worse => "distillation did not help within this budget.",
                Compared::Alike => "no difference that chance could not have made.",
            };
            let features = match compare(a, c, test) {
                Compared::Better => "Features were the better thing to learn from.",
                Compared::Worse => "Pixels were the better thing to learn from, within this budget.",
                Compared::Alike => {
                    "Between features and pixels there is no difference that chance could not have made."
                }
            };
            all.push(format!(
                "<b>{label}</b>, which {what}: the student of both teachers gets {a:.1} % right, an encoder from scratch \
                 {b:.1} %, after the same {steps} steps of fine-tuning: {verdict} A model that predicted pixels for as long \
                 as that student learned (its teachers' training not counted) gets {c:.1} %. {features}"
            ));
        }
    }
    if let (Some(image), Some(video)) = (image.probed, video.probed) {
        let verdict = match (compare(image[0], video[0], test), compare(video[1], image[1], test)) {
            (Compared::Better, Compared::Better) => {
                "each student is good at what its teacher sees, as the paper finds."
            }
            (_, Compared::Better) => {
                "the video teacher's student is ahead in motion, the image teacher's not in shape."
            }
            (Compared::Better, _) => {
                "the image teacher's student is ahead in shape, the video teacher's not in motion."
            }
            _ => "this budget does not show the difference between the teachers that the paper finds.",
        };
        all.push(format!(
            "<b>Image teacher or video teacher</b>, frozen students: shape {:.1} % and {:.1} %, direction {:.1} % and \
             {:.1} %: {verdict}",
            image[0], video[0], image[1], video[1]
        ));
    }
    all
}

/// The page as HTML.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn render(page: &Page) -> Result<String, Error> {
    let Page { plan, rows, .. } = page;
    let (steps, sizes) = (plan.steps, plan.sizes);
    let mut out = String::new();
    head(
        &mut out,
        &format!("Masked video distillation in {} minutes", page.minutes),
        "Masked video distillation, in miniature",
    );
    let _ = writeln!(
        out,
        "<p>Two teachers learn from pixels, one on frames and one on clips. Students see a quarter of a clip and learn to \
         predict the teachers' features of the rest, each token's brought to mean 0 and variance 1. Then encoders are \
         fine-tuned twice: for the <b>shape</b> of a glyph, which one frame shows, and for the <b>direction</b> it moves in, \
         which only motion shows.</p>"
    );
    let _ = writeln!(
        out,
        "<p class=\"facts\">{} clips of 8 frames of {size} x {size} pixels, {} held out; encoders of {} channels, {} blocks; \
         steps of {} clips: {} a teacher, {} a student, {} pixels only, {} a fine-tuning. {}. Budget {} minutes, took {}{}. \
         One seed ({}): differences of a few points are chance.</p>",
        sizes.train,
        sizes.test,
        sizes.encoder.dim,
        sizes.encoder.depth,
        sizes.batch,
        steps.teacher,
        steps.student,
        plan.pixel_steps,
        steps.tuning,
        escaped(&page.adapter),
        page.minutes,
        minutes(page.took),
        if page.resumed { ", part of it in an earlier session" } else { "" },
        plan.seed,
        size = sizes.size
    );
    out.push_str("<h2>What came out</h2>\n<ul>\n");
    for finding in findings(page) {
        let _ = writeln!(out, "<li>{finding}</li>");
    }
    out.push_str("</ul>\n<h2>Fine-tuned: held-out clips right</h2>\n");
    let tuned: Vec<_> = rows.iter().filter_map(|r| Some((r.name, r.tuned?.map(|v| Some(v.into())).to_vec()))).collect();
    let heads = [SHAPE, DIRECTION].map(|l| format!("{} ({})", l.name, l.classes));
    table(&mut out, &heads, &tuned, &[SHAPE.classes, DIRECTION.classes]);
    out.push_str(
        "<h2>Frozen: a linear classifier on the mean of the features</h2>\n<p>The mean over a whole clip keeps little of where \
         and when, so that fine-tuning tells more.</p>\n",
    );
    let probed: Vec<_> =
        rows.iter().filter_map(|r| Some((r.name, r.probed?.map(|v| Some(v.into())).to_vec()))).collect();
    table(&mut out, &LABELS.map(|l| l.name), &probed, &LABELS.map(|l| l.classes));
    out.push_str("<h2>Curves and pictures</h2>\n");
    figures(&mut out, &page.figures)?;
    let _ = writeln!(
        out,
        "<h2>Again</h2>\n<p><code>mvd demo --minutes {} --seed {}</code>; runs, logs and weights lie beside this page, for \
         <code>mvd plot</code>, <code>mvd show</code>, <code>mvd eval</code>.</p>\n</body>\n</html>",
        page.minutes, plan.seed
    );
    Ok(out)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::plan::{Cost, Costs, Sizes, Steps};
    use super::*;
    use crate::picture::Picture;

    fn page(direction: [f64; 5]) -> Page {
        let names = ["from scratch", "pixels only", "image", "video", "both"];
        let cost = Cost { start: 1.0, step: 0.1 };
        let costs = Costs { image: cost, video: cost, one: cost, both: cost, tuning: cost };
        let steps = Steps { teacher: 6, student: 4, tuning: 3 };
        let plan =
            Plan { minutes: 10.0, seed: 3, pixel_steps: 5, expected: 9.0, steps, sizes: Sizes::default(), costs };
        let row = |(name, direction): (&'static str, f64)| Row {
            name,
            tuned: (!["image", "video"].contains(&name)).then_some([20.0, direction]),
            probed: (name != "from scratch").then_some([20.0, direction, 33.0]),
        };
        let rows = names.into_iter().zip(direction).map(row).collect();
        let picture = Picture::new(4, 3, [9, 9, 9]);
        let figures = vec![Figure { title: "a <b>".into(), text: "c & d".into(), picture }];
        let took = Duration::from_secs(601);
        Page { adapter: "GPU <x>".into(), plan, minutes: 10.0, took, resumed: false, rows, figures }
    }

    /// Nothing but `data:` is ever loaded.
    #[test]
    fn the_page_stands_alone() {
        let html = render(&page([69.0, 75.0, 59.0, 85.0, 89.0])).unwrap();
        for forbidden in ["http:", "https:", "//", "<script", "<link", "<iframe", "url(", "@import", "srcset"] {
            let text: String = html.split("base64,").map(|p| p.split_once('"').map_or(p, |(_, rest)| rest)).collect();
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.matches(" src=").count(), html.matches(" src=\"data:image/png;base64,").count());
        assert!(html.contains("GPU &lt;x&gt;") && html.contains("a &lt;b&gt;") && html.contains("took 10 min 01 s"));
        let data = html.split("base64,").nth(1).unwrap().split('"').next().unwrap();
        let png = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
        assert_eq!((png.width(), png.height()), (4, 3));
        for row in ["from scratch", "89.0 %", "33.0 %"] {
            assert!(html.contains(row), "{row}");
        }
    }

    #[test]
    fn findings_claim_no_more_than_the_numbers() {
        let said = |direction| findings(&page(direction)).join("\n");
        let clear = said([69.0, 75.0, 59.0, 85.0, 89.0]);
        assert_eq!(clear.matches("distillation helped").count(), 1, "shapes are alike: {clear}");
        assert!(clear.contains("Features were the better") && clear.contains("ahead in motion"), "{clear}");
        let close = said([69.0, 75.0, 70.0, 71.0, 71.0]);
        assert_eq!(close.matches(": no difference that chance could not").count(), 2, "{close}");
        assert!(close.contains("does not show the difference"), "{close}");
        assert!(said([69.0, 75.0, 70.0, 71.0, 50.0]).contains("did not help"));
        assert_eq!(compare(50.0, 45.0, 500), Compared::Alike);
        assert_eq!(compare(50.0, 40.0, 500), Compared::Better);
    }
}
