//! The demo's page: one file, nothing loaded from elsewhere, no script.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plan::{DIRECTION, LABELS, Plan, SHAPE};
use super::{Error, minutes};
use crate::picture::Picture;

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

/// A picture with its words.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Heading.
    pub title: String,
    /// What is seen.
    pub text: String,
    /// The picture.
    pub picture: Picture,
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

const STYLE: &str = "
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.25rem; font: 1rem/1.5 system-ui, sans-serif; color: #1d2430; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p, li { max-width: 46rem; }
ul { padding-left: 1.2rem; }
.facts { color: #566072; font-size: .9rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; max-width: 46rem; }
th, td { padding: .4rem .6rem; text-align: left; border-bottom: 1px solid #dde2ea; vertical-align: top; }
th { font-weight: 600; font-size: .9rem; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; min-width: 5.5rem; }
.bar { height: .35rem; background: #e8ecf2; margin-top: .2rem; }
.bar div { height: 100%; background: #0072b2; }
tr.chance td { color: #566072; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1.25rem; }
figure { margin: 0; border: 1px solid #dde2ea; border-radius: .4rem; padding: .75rem; min-width: 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { font-size: .9rem; margin-top: .5rem; }
code { background: #f0f3f7; padding: .1rem .3rem; border-radius: .2rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) {
  body { padding: .75rem; }
  table { font-size: .82rem; }
  th, td { padding: .3rem .25rem; }
  th { font-size: .78rem; }
  td.number { min-width: 3.4rem; }
  figure { padding: .4rem; }
}
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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

fn cell(out: &mut String, value: Option<f64>) {
    let _ = match value {
        Some(v) => write!(
            out,
            "<td class=\"number\">{v:.1} %<div class=\"bar\"><div style=\"width:{:.1}%\"></div></div></td>",
            v.clamp(0.0, 100.0)
        ),
        None => write!(out, "<td class=\"number\">-</td>"),
    };
}

fn table(out: &mut String, heads: &[impl std::fmt::Display], rows: &[(&str, Vec<Option<f64>>)], chance: &[usize]) {
    out.push_str("<div class=\"table\"><table><tr><th>encoder</th>");
    for head in heads {
        let _ = write!(out, "<th>{head}</th>");
    }
    out.push_str("</tr>\n");
    for (name, values) in rows {
        let _ = write!(out, "<tr><td>{name}</td>");
        values.iter().for_each(|value| cell(out, *value));
        out.push_str("</tr>\n");
    }
    out.push_str("<tr class=\"chance\"><td>chance</td>");
    for classes in chance {
        let _ = write!(out, "<td class=\"number\">{:.1} %</td>", 100.0 / *classes as f64);
    }
    out.push_str("</tr></table></div>\n");
}

/// The page as HTML.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn render(page: &Page) -> Result<String, Error> {
    let Page { plan, rows, .. } = page;
    let (steps, sizes) = (plan.steps, plan.sizes);
    let mut out = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ =
        write!(out, "<title>Masked video distillation in {} minutes</title>\n<style>{STYLE}</style>\n", page.minutes);
    out.push_str("</head>\n<body>\n<h1>Masked video distillation, in miniature</h1>\n");
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
    let tuned: Vec<_> = rows.iter().filter_map(|r| Some((r.name, r.tuned?.map(Some).to_vec()))).collect();
    let heads = [SHAPE, DIRECTION].map(|l| format!("{} ({})", l.name, l.classes));
    table(&mut out, &heads, &tuned, &[SHAPE.classes, DIRECTION.classes]);
    out.push_str(
        "<h2>Frozen: a linear classifier on the mean of the features</h2>\n<p>The mean over a whole clip keeps little of where \
         and when, so that fine-tuning tells more.</p>\n",
    );
    let probed: Vec<_> = rows.iter().filter_map(|r| Some((r.name, r.probed?.map(Some).to_vec()))).collect();
    table(&mut out, &LABELS.map(|l| l.name), &probed, &LABELS.map(|l| l.classes));
    out.push_str("<h2>Curves and pictures</h2>\n<div class=\"figures\">\n");
    for Figure { title, text, picture } in &page.figures {
        let data = STANDARD.encode(picture.png()?);
        let (title, text) = (escaped(title), escaped(text));
        let _ = writeln!(
            out,
            "<figure><img alt=\"{title}\" width=\"{}\" height=\"{}\" src=\"data:image/png;base64,{data}\">\
             <figcaption><b>{title}</b>. {text}</figcaption></figure>",
            picture.width, picture.height
        );
    }
    let _ = writeln!(
        out,
        "</div>\n<h2>Again</h2>\n<p><code>mvd demo --minutes {} --seed {}</code>; runs, logs and weights lie beside this page, for \
         <code>mvd plot</code>, <code>mvd show</code>, <code>mvd eval</code>.</p>\n</body>\n</html>",
        page.minutes, plan.seed
    );
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Cost, Costs, Sizes, Steps};
    use super::*;

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
