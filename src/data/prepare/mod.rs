//! Re-encodes a set for fast sampling: short side scaled down, a key frame every few frames, by the `ffmpeg` program;
//! where it is not installed, and for folders of images, frames as JPEG. What is done stays done: a second call goes on, and
//! makes anew what was made from another file or in another way.

mod record;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use fast_image_resize::Resizer;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::crop::{Region, resize};
use super::error::{Error, Result};
use super::items::Items;
use super::list::{self, Entry};
use super::video::is_video;
use super::video::{self, Video};
use record::{Made, Record};

/// How a set is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PrepareConfig {
    /// Length of the short side in pixels; smaller videos stay as they are.
    pub side: usize,
    /// Frames from one key frame to the next.
    pub keyint: usize,
    /// x264's constant rate factor.
    pub crf: u32,
}

/// What became of one video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// It was there already.
    Found,
    /// It was made.
    Made,
    /// It could not be made, and why.
    Failed(String),
}

/// Frames decoded at once.
const AT_ONCE: usize = 32;

/// Whether the `ffmpeg` program is there and encodes H.264.
pub fn ffmpeg_encodes() -> bool {
    let listed = Command::new("ffmpeg").args(["-v", "error", "-encoders"]).stderr(Stdio::null()).output();
    listed.is_ok_and(|out| out.status.success() && String::from_utf8_lossy(&out.stdout).contains(" libx264 "))
}

/// One video to make, however often the set names it.
struct Job {
    source: PathBuf,
    /// Under the folder that is written.
    name: PathBuf,
    /// A folder of frames, and no video file.
    is_frames: bool,
}

/// The name under which a video of the set is made: its own without what leads out of the folder. The set may be one folder of
/// frames, which has no name in itself.
fn name_of(name: &Path, source: &Path) -> PathBuf {
    let inside: PathBuf = name.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    if !inside.as_os_str().is_empty() {
        return inside;
    }
    let real = source.canonicalize().ok();
    real.as_deref().and_then(Path::file_name).map_or_else(|| PathBuf::from("video"), PathBuf::from)
}

/// The videos to make, and of each item of the set which of them it is.
fn jobs(items: &Items, out: &Path, by_ffmpeg: bool) -> Result<(Vec<Job>, Vec<usize>)> {
    let (mut jobs, mut of_items): (Vec<Job>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut by_name: HashMap<PathBuf, usize> = HashMap::new();
    for index in 0..items.len() {
        let source = items.at(index).path;
        let (inside, is_frames) = (name_of(items.name(index), &source), !by_ffmpeg || source.is_dir());
        let mut name =
            if is_video(&inside) && !source.is_dir() { inside.with_extension("") } else { inside }.into_os_string();
        name.push(if is_frames { "" } else { ".mp4" });
        let name = PathBuf::from(name);
        let job = *by_name.entry(name.clone()).or_insert(jobs.len());
        if job == jobs.len() {
            jobs.push(Job { source, name, is_frames });
        } else if jobs[job].source != source {
            return Err(Error::SameTarget { target: out.join(name), one: jobs[job].source.clone(), other: source });
        }
        of_items.push(job);
    }
    // A folder of frames is replaced as a whole: nothing else may lie in it.
    for job in &jobs {
        let above = job.name.ancestors().skip(1).find_map(|above| by_name.get(above)).map(|above| &jobs[*above]);
        if let Some(above) = above {
            let (one, other) = (above.source.clone(), job.source.clone());
            return Err(Error::SameTarget { target: out.join(&above.name), one, other });
        }
    }
    Ok((jobs, of_items))
}

/// Prepares every video of a set into `out`, each once, and writes `list.txt` there, of those that could be, with the labels
/// and the names of their classes. `progress` is called after each. What became of them, in the order of their first names.
///
/// # Errors
/// Two videos would have one name, another call writes to the folder, or it cannot be written to.
pub fn prepare(
    items: &Items,
    classes: &[String],
    out: &Path,
    config: &PrepareConfig,
    by_ffmpeg: bool,
    progress: impl Fn() + Sync,
) -> Result<Vec<Prepared>> {
    let (jobs, of_items) = jobs(items, out, by_ffmpeg)?;
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let record = Record::open(out)?;
    let one = |job: &Job| {
        let made = Made::new(job.name.clone(), &job.source, config, job.is_frames);
        let done = match made {
            Ok(made) if record.has(&made) && out.join(&job.name).exists() => Ok(Prepared::Found),
            Ok(made) => make(job, out, config).and_then(|()| record.add(made)).map(|()| Prepared::Made),
            Err(error) => Err(error),
        };
        progress();
        done.unwrap_or_else(|error| Prepared::Failed(error.to_string()))
    };
    let prepared: Vec<Prepared> = jobs.par_iter().map(one).collect();
    let mut entries = Vec::new();
    for (item, job) in items.iter().zip(of_items) {
        if !matches!(prepared[job], Prepared::Failed(_)) {
            entries.push(Entry { name: jobs[job].name.clone(), label: item.label, part: item.part });
        }
    }
    list::write(&out.join("list.txt"), &entries, classes)?;
    Ok(prepared)
}

/// Makes one video, aside and then renamed.
fn make(job: &Job, out: &Path, config: &PrepareConfig) -> Result<()> {
    let target = out.join(&job.name);
    let mut aside = target.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    // What a call that was broken off left.
    remove(&aside)?;
    match job.is_frames {
        true => frames(&job.source, &aside, config)?,
        false => encode(&job.source, &aside, config)?,
    }
    // What was made in another way.
    remove(&target)?;
    fs::rename(&aside, &target).map_err(|e| Error::io(&target, e))
}

/// Removes a file or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.map_err(|e| Error::io(path, e))
}

fn encode(path: &Path, aside: &Path, config: &PrepareConfig) -> Result<()> {
    let PrepareConfig { side, keyint, crf } = *config;
    // The short side at most `side`, the other in proportion, both even.
    let short = |of: &str| format!("trunc(min({side},{of})/2)*2");
    let scale = format!("scale='if(gt(iw,ih),-2,{})':'if(gt(iw,ih),{},-2)'", short("iw"), short("ih"));
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-threads", "1", "-i"]).arg(video::local(path));
    command.args(["-map", &video::mapped(path)?]).args(video::passthrough());
    command.args(["-vf", &scale, "-pix_fmt", "yuv420p", "-c:v", "libx264"]);
    command.args(["-preset", "fast", "-crf", &crf.to_string(), "-g", &keyint.to_string(), "-sc_threshold", "0"]);
    command.args(["-threads", "1", "-movflags", "+faststart", "-f", "mp4"]).arg(video::local(aside));
    let done = command.output().map_err(|e| Error::video(path, format!("cannot start ffmpeg: {e}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::video(path, format!("ffmpeg: {}", said.lines().last().unwrap_or("failed").trim())));
    }
    Ok(())
}

fn frames(path: &Path, aside: &Path, config: &PrepareConfig) -> Result<()> {
    let mut source = video::open(path)?;
    video::reading(&mut *source, |source| {
        remove(aside)?;
        fs::create_dir_all(aside).map_err(|e| Error::io(aside, e))?;
        write_frames(source, path, aside, config)
    })
}

fn write_frames(source: &mut dyn Video, path: &Path, aside: &Path, config: &PrepareConfig) -> Result<()> {
    let mut resizer = Resizer::new();
    let ranks: Vec<usize> = (0..source.len()).collect();
    for some in ranks.chunks(AT_ONCE) {
        let video::Frames { width, height, rgb } = source.frames(some)?;
        let region = Region { x: 0, y: 0, width, height };
        let short = width.min(height);
        let scaled = |length: usize| (length * config.side.min(short) + short / 2) / short.max(1);
        let (w, h) = (scaled(width), scaled(height));
        let mut small = vec![0; 3 * w * h];
        for (rank, rgb) in some.iter().zip(&rgb) {
            resize(&mut resizer, (rgb, width, height), region, (w, h), &mut small)
                .map_err(|e| Error::video(path, e))?;
            let name = aside.join(format!("{rank:06}.jpg"));
            let file = BufWriter::new(File::create(&name).map_err(|e| Error::io(&name, e))?);
            let written =
                JpegEncoder::new_with_quality(file, 92).encode(&small, w as u32, h as u32, ExtendedColorType::Rgb8);
            written.map_err(|e| Error::video(&name, e.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
