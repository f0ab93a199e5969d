//! What `mvd eval` says and writes at its end.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Failure;
use super::report::say;
use crate::data::csv_field;
use crate::eval::Score;
use crate::eval::partial::Test;
use crate::model::opened::Opened;
use crate::picture::chart::draw_confusion;

/// A test that came to its end.
pub(super) struct Report<'a> {
    pub opened: &'a Opened,
    pub data: &'a Path,
    pub test: &'a Test,
    pub score: &'a Score,
    /// Videos that could not be read.
    pub unread: &'a [PathBuf],
    /// Clips of a batch.
    pub batch: usize,
    pub adapter: String,
}

impl Report<'_> {
    fn setting(&self, name: &str) -> &str {
        self.test.0.get(name).map_or("", String::as_str)
    }

    /// Prints the result, for people or as one JSON object.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            say(&serde_json::to_string_pretty(&self.json())?);
            return Ok(());
        }
        let (score, classes) = (self.score, self.score.confusion.len());
        let (clips, crops) = (self.setting("clips"), self.setting("crops"));
        let (top1, top5) = (score.top1(), score.top5());
        say(&format!("{} videos, {clips} x {crops} views: top-1 {top1:.2} %, top-5 {top5:.2} %", score.count));
        let (mean, present) = score.mean_class();
        let of = if present < classes {
            format!(" over the {present} of {classes} classes that have videos")
        } else {
            String::new()
        };
        say(&format!("mean class accuracy {mean:.2} %{of}"));
        if score.unread > 0 {
            say(&format!("{} videos could not be read and are not counted", score.unread));
        }
        for class in 0..classes {
            let name = self.name(class).map_or_else(String::new, |name| format!(" {name}"));
            let found = match score.class(class) {
                (0, _) => "no samples".to_owned(),
                (all, right) => format!("{:>6.2} % of {all}", 100.0 * right as f64 / all as f64),
            };
            say(&format!("class {class:>4}{name}: {found}"));
        }
        Ok(())
    }

    /// A class's name, if it has one.
    fn name(&self, class: usize) -> Option<&String> {
        self.opened.names.as_ref()?.value.get(class).filter(|name| !name.is_empty())
    }

    fn json(&self) -> Value {
        let score = self.score;
        let class = |class: usize| {
            let (all, right) = score.class(class);
            let top1 = (all > 0).then(|| 100.0 * right as f64 / all as f64);
            json!({ "class": class, "name": self.name(class), "count": all, "correct": right, "top1": top1 })
        };
        let (mean, present) = score.mean_class();
        let mut settings: serde_json::Map<String, Value> = self
            .test
            .0
            .iter()
            .map(|(name, value)| (name.clone(), value.parse::<u64>().map_or(json!(value), Value::from)))
            .collect();
        settings.insert("batch".to_owned(), json!(self.batch));
        settings.insert("adapter".to_owned(), json!(self.adapter));
        let path = |path: &Path| path.display().to_string();
        json!({
            "weights": path(&self.opened.origin.path),
            "data": path(self.data),
            "count": score.count,
            "unreadable": score.unread,
            "unreadable_videos": self.unread.iter().map(|video| path(video)).collect::<Vec<_>>(),
            "top1": score.top1(),
            "top5": score.top5(),
            "mean_class_accuracy": mean,
            "classes_with_videos": present,
            "classes": (0..score.confusion.len()).map(class).collect::<Vec<_>>(),
            "settings": settings,
        })
    }

    /// Writes the confusion matrix: as CSV, or drawn where the file's name says so.
    pub fn write_confusion(&self, path: &Path) -> Result<(), Failure> {
        let names: Vec<String> = (0..self.score.confusion.len()).map(|class| self.opened.class_name(class)).collect();
        let failed = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
            let picture = draw_confusion(&self.score.confusion, &names)?;
            return Ok(picture.save(path).map_err(|e| failed(&e))?);
        }
        let mut text = b"label".to_vec();
        for name in &names {
            text.push(b',');
            csv_field(&mut text, name.as_bytes());
        }
        for (name, row) in names.iter().zip(&self.score.confusion) {
            text.push(b'\n');
            csv_field(&mut text, name.as_bytes());
            row.iter().for_each(|count| text.extend(format!(",{count}").bytes()));
        }
        text.push(b'\n');
        Ok(std::fs::write(path, text).map_err(|e| failed(&e))?)
    }
}
