//! Checking an adapter and its driver: operations against their CPU twins, whole steps against stored references.

mod hugging_face;
mod layout;
mod reference;
mod roi;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::Tokens;
use crate::gpu::{EngineOptions, Gpu};
use crate::op::check::{Case, DIFFERENCE_TOLERANCE, check};
use crate::{gpu, op, weights};

pub use reference::{check_embedded, check_reference};

/// What a self-test cannot go on from; a wrong number is a failed `Row` instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Gpu(#[from] gpu::Error),
    /// The tensors could not be read.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// A file of the reference could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The reference is not laid out as expected.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
}

/// One line of a self-test's table.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was compared.
    pub name: String,
    /// Largest absolute difference.
    pub absolute: f64,
    /// Largest difference as a share of the reference's largest value.
    pub relative: f64,
    /// What is allowed.
    pub tolerance: String,
    /// Within it.
    pub passed: bool,
}

/// A self-test's table.
#[derive(Debug, Clone, Default)]
pub struct Report(pub Vec<Row>);

impl Report {
    /// How many rows failed.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|r| !r.passed).count()
    }

    fn relative(&mut self, name: impl Into<String>, (absolute, relative): (f64, f64), tolerance: f64) {
        let passed = relative <= tolerance;
        self.0.push(Row { name: name.into(), absolute, relative, tolerance: format!("rel {tolerance:.0e}"), passed });
    }

    /// A row for something that the reference or the program lacks.
    fn missing(&mut self, name: impl Into<String>, reason: &str) {
        let (absolute, relative) = (f64::INFINITY, f64::INFINITY);
        self.0.push(Row { name: name.into(), absolute, relative, tolerance: reason.to_owned(), passed: false });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "{:<width$}  {:>10}  {:>10}  {:<12}", "what", "max abs", "max rel", "allowed")?;
        for row in &self.0 {
            let verdict = if row.passed { "ok" } else { "FAILED" };
            let (absolute, relative) = (row.absolute, row.relative);
            writeln!(
                f,
                "{:<width$}  {absolute:>10.2e}  {relative:>10.2e}  {:<12}  {verdict}",
                row.name, row.tolerance
            )?;
        }
        write!(f, "{} compared, {} failed", self.0.len(), self.failed())
    }
}

/// Every operation's cases on the adapter: one row a case, the worst of its comparisons.
///
/// # Errors
/// What the engine reports.
pub fn check_operations(gpu: &Arc<Gpu>, mut progress: impl FnMut(usize, usize)) -> Result<Report, Error> {
    let cases: Vec<Case> = op::cases();
    let mut report = Report::default();
    for (done, case) in cases.iter().enumerate() {
        progress(done, cases.len());
        let outcome = check(gpu, gpu.caps(), case, &EngineOptions::default())?;
        let worst = |f: fn(&gpu::NodeError) -> f64| outcome.nodes.iter().map(f).fold(0.0, f64::max);
        report.relative(&outcome.name, (worst(|n| n.absolute), worst(|n| n.relative)), outcome.tolerance);
        if let Some(gradient) = outcome.differences.iter().map(|d| d.1).reduce(f64::max) {
            let name = format!("{}: finite differences", outcome.name);
            report.relative(name, (gradient, gradient), DIFFERENCE_TOLERANCE);
        }
    }
    Ok(report)
}

/// Outputs: share of the tensor's largest value.
const FORWARD: f64 = 1e-5;
/// Gradients: the same.
const GRADIENT: f64 = 1e-4;
/// Losses: five digits.
const LOSS: f64 = 1e-5;

/// The lists of a mask (B, N), 1 = masked; the error is in words.
fn tokens(mask: &[f32], batch: usize, tokens: usize) -> Result<Tokens, String> {
    if mask.len() != batch * tokens {
        return Err(format!("input.mask has {} elements, the sizes need {batch} x {tokens}", mask.len()));
    }
    let mut lists = Tokens { visible: vec![], masked: vec![] };
    let mut counts = Vec::new();
    for row in mask.chunks_exact(tokens) {
        let of = |wanted: bool| (0..tokens as u32).filter(move |&i| (row[i as usize] > 0.5) == wanted);
        lists.visible.extend(of(false));
        lists.masked.extend(of(true));
        counts.push(of(true).count());
    }
    if counts.iter().any(|c| *c == 0 || *c == tokens || *c != counts[0]) {
        return Err("input.mask must mask equally many tokens of each sample, neither none nor all".into());
    }
    Ok(lists)
}

/// Largest absolute difference, and the same as a share of the reference's largest value; NaN is infinite.
fn difference(got: &[f32], expected: &[f32]) -> (f64, f64) {
    if got.len() != expected.len() {
        return (f64::INFINITY, f64::INFINITY);
    }
    let largest = expected.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    let absolute = got.iter().zip(expected).fold(0f64, |m, (g, e)| {
        let d = (f64::from(*g) - f64::from(*e)).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    });
    (absolute, absolute / largest.max(1e-30))
}

fn sibling(path: &Path, extension: &str) -> PathBuf {
    path.with_extension(extension)
}
