//! Training curves: what runs have logged, as charts.

use std::io;
use std::path::Path;

use super::log::{self, StepRecord, Validation};
use crate::picture::chart::{Panel, Series};

/// What one run has logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// What the run is called.
    pub name: String,
    /// Every step.
    pub steps: Vec<StepRecord>,
    /// Every validation.
    pub validations: Vec<Validation>,
}

impl Curves {
    /// Reads a run's logs; nothing where there are none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(run: &Path, name: &str) -> io::Result<Curves> {
        let steps = log::read(&run.join("log.jsonl"))?;
        let validations = log::read(&run.join("validation.jsonl"))?;
        Ok(Curves { name: name.to_owned(), steps, validations })
    }

    /// A line of one number of every step.
    pub fn line(&self, of: impl Fn(&StepRecord) -> f64) -> Series {
        let points = self.steps.iter().map(|r| (r.step as f64, of(r))).collect();
        Series { name: self.name.clone(), points, ..Series::default() }
    }

    /// The validations' number of this name; none if none has it.
    pub fn validated(&self, name: &str) -> Option<Series> {
        let points = self.validations.iter().filter_map(|v| Some((v.step as f64, *v.values.get(name)?)));
        let points: Vec<(f64, f64)> = points.collect();
        let averaged = if name.starts_with("ema") { " (averaged)" } else { "" };
        let name = format!("{}{averaged}", self.name);
        (!points.is_empty()).then(|| Series { name, points, ..Series::default() })
    }
}

/// Loss, gradient norm, learning rate and, where there were validations, their top-1.
pub fn panels(runs: &[Curves]) -> Vec<Panel> {
    let panel = |title: &str, log, series| Panel { title: title.to_owned(), x: "step".to_owned(), log, series };
    let lines = |of: fn(&StepRecord) -> f64| runs.iter().map(|run| run.line(of)).collect::<Vec<_>>();
    let mut all = vec![
        panel("loss", true, lines(|r| r.loss)),
        panel("gradient norm", true, lines(|r| r.grad_norm)),
        panel("learning rate", false, lines(|r| r.lr)),
    ];
    let tops = runs.iter().flat_map(|run| ["top1", "ema_top1"].into_iter().filter_map(|name| run.validated(name)));
    let tops: Vec<Series> = tops.collect();
    if !tops.is_empty() {
        all.push(panel("validation: top-1, %", false, tops));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_become_lines() {
        let dir = tempfile::tempdir().unwrap();
        let step = |i: usize| {
            format!(
                r#"{{"step":{i},"epoch":0,"loss":{i}.5,"loss_class":{i}.5,"grad_norm":1,"lr":0.1,"weight_decay":0}}"#
            )
        };
        std::fs::write(dir.path().join("log.jsonl"), format!("{}\n{}\n{{\"step\":3,", step(1), step(2))).unwrap();
        let run = Curves::read(dir.path(), "a").unwrap();
        assert_eq!(run.line(|r| r.loss).points, [(1.0, 1.5), (2.0, 2.5)]);
        assert_eq!(panels(&[run]).len(), 3);
        std::fs::write(dir.path().join("validation.jsonl"), "{\"step\":2,\"top1\":40.0,\"ema_top1\":50.0}\n").unwrap();
        let run = Curves::read(dir.path(), "a").unwrap();
        let top = panels(&[run.clone(), run]).pop().unwrap();
        let names: Vec<&str> = top.series.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["a", "a (averaged)", "a", "a (averaged)"]);
        assert_eq!(top.series[1].points, [(2.0, 50.0)]);
        std::fs::write(dir.path().join("log.jsonl"), "nonsense\n").unwrap();
        assert!(Curves::read(dir.path(), "a").is_err());
    }
}
