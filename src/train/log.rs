//! What a run writes down: `log.jsonl`, one object a step, and TensorBoard events.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One step's record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step, counted from 1.
    pub step: usize,
    /// Pass over the set.
    pub epoch: usize,
    /// Sum of the weighted losses.
    pub loss: f64,
    /// Its terms before their weights, as `loss_image`, `loss_video`, `loss_pixels`, `loss_class`.
    #[serde(flatten)]
    pub losses: BTreeMap<String, f64>,
    /// Norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// What a validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Step after which it was made.
    pub step: usize,
    /// Its numbers by name: `top1`, `top5`, and with `ema_` before it the same of the averaged weights.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// The whole lines of a run's `log.jsonl` or `validation.jsonl`; none if there is no such file.
///
/// # Errors
/// The file cannot be read, or a line before its last is no record.
pub fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    // What is being written has no end of line yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// How long lines of steps may be unsynced: a step may take less than a sync.
const UNSYNCED: Duration = Duration::from_secs(5);

/// The open log of a run.
pub struct RunLog {
    lines: File,
    validations: File,
    events: File,
    synced: Instant,
}

/// Opens a file of one object a line for appending, without the lines of steps after `after`.
fn reopened(path: &Path, after: usize) -> io::Result<File> {
    #[derive(Deserialize)]
    struct Line {
        step: usize,
    }
    let mut kept = Vec::new();
    if path.exists() {
        for line in BufReader::new(File::open(path)?).lines() {
            let line = line?;
            // A kill may have cut the last line.
            if serde_json::from_str::<Line>(&line).is_ok_and(|r| r.step <= after) {
                kept.extend(line.bytes().chain([b'\n']));
            }
        }
    }
    let aside = path.with_extension("jsonl.tmp");
    let mut file = File::create(&aside)?;
    file.write_all(&kept)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    OpenOptions::new().append(true).open(path)
}

impl RunLog {
    /// Opens the run's log after step `after`; lines of later steps, which are going to be made again, are dropped, and
    /// so is the validation after that step if it is `due`.
    ///
    /// # Errors
    /// The run directory cannot be written to.
    pub fn open(run: &Path, after: usize, due: bool) -> io::Result<RunLog> {
        let lines = reopened(&run.join("log.jsonl"), after)?;
        let validations = reopened(&run.join("validation.jsonl"), after - usize::from(due))?;
        let name = format!("events.out.tfevents.{}.mvd.{after}", seconds() as u64);
        let mut events = File::create(run.join(name))?;
        let mut version = fixed(1, &seconds().to_le_bytes());
        version.extend(bytes(3, b"brain.Event:2"));
        record(&mut events, &version)?;
        if after > 0 {
            // A session start makes TensorBoard forget what earlier files hold from this step on.
            let mut start = fixed(1, &seconds().to_le_bytes());
            start.push(2 << 3);
            start.extend(varint(after as u64 + 1));
            start.extend(bytes(7, &[1 << 3, 1]));
            record(&mut events, &start)?;
        }
        Ok(RunLog { lines, validations, events, synced: Instant::now() })
    }

    /// Appends one step.
    ///
    /// # Errors
    /// The files cannot be written to.
    pub fn step(&mut self, r: &StepRecord) -> io::Result<()> {
        let mut line = serde_json::to_string(r)?;
        line.push('\n');
        self.lines.write_all(line.as_bytes())?;
        if self.synced.elapsed() > UNSYNCED {
            self.sync()?;
        }
        let terms = r.losses.iter().map(|(name, value)| (name.replace("loss_", "loss/"), *value));
        let others = [("loss", r.loss), ("grad_norm", r.grad_norm), ("lr", r.lr), ("weight_decay", r.weight_decay)];
        let others = others.map(|(tag, value)| (tag.to_owned(), value));
        self.event(r.step, terms.chain(others))
    }

    /// Has the system write down all that was appended.
    ///
    /// # Errors
    /// The files cannot be written to.
    pub fn sync(&mut self) -> io::Result<()> {
        self.synced = Instant::now();
        [&self.lines, &self.validations].into_iter().try_for_each(File::sync_data)
    }

    /// Appends what a validation found, to `validation.jsonl` and as `val/NAME`.
    ///
    /// # Errors
    /// The files cannot be written to.
    pub fn validation(&mut self, found: &Validation) -> io::Result<()> {
        writeln!(self.validations, "{}", serde_json::to_string(found)?)?;
        self.validations.sync_data()?;
        self.event(found.step, found.values.iter().map(|(name, value)| (format!("val/{name}"), *value)))
    }

    fn event(&mut self, step: usize, scalars: impl Iterator<Item = (String, f64)>) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = bytes(1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((value as f32).to_le_bytes());
            summary.extend(bytes(1, &entry));
        }
        let mut event = fixed(1, &seconds().to_le_bytes());
        event.push(2 << 3);
        event.extend(varint(step as u64));
        event.extend(bytes(5, &summary));
        record(&mut self.events, &event)
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

// The three protobuf fields that events need, and TFRecord's framing.

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn fixed(field: u8, value: &[u8; 8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value);
    out
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(value.len() as u64));
    out.extend(value);
    out
}

/// TFRecord's masked CRC-32C.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data);
    (crc.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
}

fn record(out: &mut impl Write, data: &[u8]) -> io::Result<()> {
    let len = (data.len() as u64).to_le_bytes();
    let frame = [&len[..], &masked_crc(&len), data, &masked_crc(data)].concat();
    out.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize) -> StepRecord {
        let losses = BTreeMap::from([("loss_image".to_owned(), 1.5)]);
        StepRecord { step, epoch: 0, loss: 2.5, losses, grad_norm: 0.5, lr: 1e-3, weight_decay: 0.05 }
    }

    #[test]
    fn resuming_drops_what_will_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = RunLog::open(dir.path(), 0, false).unwrap();
        (1..=5).for_each(|i| log.step(&step(i)).unwrap());
        drop(log);
        let path = dir.path().join("log.jsonl");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"step\":6,\"ep").unwrap();
        let found = |step| Validation { step, values: BTreeMap::new() };
        let mut log = RunLog::open(dir.path(), 3, false).unwrap();
        log.step(&step(4)).unwrap();
        [2, 3].into_iter().for_each(|step| log.validation(&found(step)).unwrap());
        drop(RunLog::open(dir.path(), 4, false).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let steps: Vec<usize> = text.lines().map(|l| serde_json::from_str::<StepRecord>(l).unwrap().step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        // A validation that is made again.
        drop(RunLog::open(dir.path(), 3, true).unwrap());
        let validations: Vec<Validation> = read(&dir.path().join("validation.jsonl")).unwrap();
        assert_eq!(validations, [found(2)]);
    }

    #[test]
    fn events_are_framed_with_their_checksums() {
        let dir = tempfile::tempdir().unwrap();
        RunLog::open(dir.path(), 0, false).unwrap().step(&step(7)).unwrap();
        let is_events = |p: &std::path::PathBuf| p.to_string_lossy().contains("tfevents");
        let path = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).find(is_events).unwrap();
        let data = std::fs::read(path).unwrap();
        let mut rest = data.as_slice();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]));
            assert_eq!(rest[12 + len..16 + len], masked_crc(&rest[12..12 + len]));
            records.push(&rest[12..12 + len]);
            rest = &rest[16 + len..];
        }
        assert_eq!(records.len(), 2);
        assert!(records[0].ends_with(b"brain.Event:2"));
        let tag = records[1].windows(10).position(|w| w == b"loss/image").unwrap();
        assert_eq!(records[1][tag + 11..tag + 15], 1.5f32.to_le_bytes());
    }
}
