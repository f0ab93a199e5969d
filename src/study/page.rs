//! Pieces of pages: one file, nothing loaded from elsewhere, no script.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Error;
use crate::picture::Picture;

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

/// Text as HTML.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page's beginning, up to its heading.
pub fn head(out: &mut String, title: &str, heading: &str) {
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let _ = writeln!(out, "<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>");
}

/// Pictures with their words, side by side where there is room.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn figures(out: &mut String, all: &[Figure]) -> Result<(), Error> {
    out.push_str("<div class=\"figures\">\n");
    for Figure { title, text, picture } in all {
        let data = STANDARD.encode(picture.png()?);
        let (title, text) = (escaped(title), escaped(text));
        let _ = writeln!(
            out,
            "<figure><img alt=\"{title}\" width=\"{}\" height=\"{}\" src=\"data:image/png;base64,{data}\">\
             <figcaption><b>{title}</b>. {text}</figcaption></figure>",
            picture.width, picture.height
        );
    }
    out.push_str("</div>\n");
    Ok(())
}

/// A percentage, and its standard error if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent {
    /// From 0 to 100.
    pub value: f64,
    /// In points.
    pub error: Option<f64>,
}

impl From<f64> for Percent {
    fn from(value: f64) -> Percent {
        Percent { value, error: None }
    }
}

fn cell(out: &mut String, value: Option<Percent>) {
    let Some(Percent { value, error }) = value else {
        out.push_str("<td class=\"number\">-</td>");
        return;
    };
    let error = error.map_or_else(String::new, |error| format!(" &plusmn; {error:.1}"));
    let _ = write!(
        out,
        "<td class=\"number\">{value:.1} %{error}<div class=\"bar\"><div style=\"width:{:.1}%\"></div></div></td>",
        value.clamp(0.0, 100.0)
    );
}

/// A table of text that is HTML already, its first column names.
pub fn texts(out: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    out.push_str("<div class=\"table\"><table><tr>");
    heads.iter().for_each(|head| out.push_str(&format!("<th>{head}</th>")));
    out.push_str("</tr>\n");
    for row in rows {
        let cells: String = row.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out.push_str("</table></div>\n");
}

/// Percentages with bars, and what chance gives of so many classes.
pub fn table(
    out: &mut String,
    heads: &[impl std::fmt::Display],
    rows: &[(&str, Vec<Option<Percent>>)],
    chance: &[usize],
) {
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

/// Time for people.
pub fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}
