//! Re-encodes a set for fast sampling: short side scaled down, a key frame every few frames, by the `ffmpeg` program;
//! where it is not installed, frames as JPEG. What is done stays done: a second call goes on.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use fast_image_resize::Resizer;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use super::crop::{Region, resize};
use super::dataset::is_video;
use super::error::{Error, Result};
use super::items::{Item, Items, Part};
use super::video;

/// How a set is prepared.
#[derive(Debug, Clone, Copy)]
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

/// Where each video goes: its own name under `out`, without what leads out of there.
fn targets(items: &Items, out: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut taken: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut targets = Vec::new();
    for index in 0..items.len() {
        let name = items.name(index);
        let inside: PathBuf = name.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        let stem = if is_video(&inside) { inside.with_extension("") } else { inside };
        let mut target = out.join(stem).into_os_string();
        target.push(extension);
        let target = PathBuf::from(target);
        let source = items.at(index).path;
        let first = taken.entry(target.clone()).or_insert_with(|| source.clone());
        if *first != source {
            return Err(Error::SameTarget { target, one: first.clone(), other: source });
        }
        targets.push(target);
    }
    Ok(targets)
}

/// Prepares every video of a set into `out` and writes `list.txt` there, of those that could be. `progress` is called
/// after each.
///
/// # Errors
/// Two videos would have one name, or the folder cannot be written to.
pub fn prepare(
    items: &Items,
    out: &Path,
    config: &PrepareConfig,
    by_ffmpeg: bool,
    progress: impl Fn() + Sync,
) -> Result<Vec<Prepared>> {
    let targets = targets(items, out, if by_ffmpeg { ".mp4" } else { "" })?;
    let one = |index: usize| {
        let (item, target) = (items.at(index), &targets[index]);
        // A video that the list names again, of which it takes another part, is one video.
        let again = index > 0 && targets[index - 1] == *target;
        let made = match target.exists() || again {
            true => Ok(Prepared::Found),
            false => make(&item, target, config, by_ffmpeg).map(|()| Prepared::Made),
        };
        progress();
        made.unwrap_or_else(|error| Prepared::Failed(error.to_string()))
    };
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let prepared: Vec<Prepared> = (0..items.len()).into_par_iter().map(one).collect();
    let mut list = String::new();
    for ((item, target), _) in items.iter().zip(&targets).zip(&prepared).filter(|((_, target), _)| target.exists()) {
        let name = target.strip_prefix(out).unwrap_or(target).display();
        let label = item.label.map_or(-1, i64::from);
        let frames = if item.part.frames == u32::MAX { -1 } else { i64::from(item.part.frames) };
        let _ = match item.part {
            Part::WHOLE => writeln!(list, "{name} {label}"),
            Part { start, .. } => writeln!(list, "{name} {start} {frames} {label}"),
        };
    }
    let path = out.join("list.txt");
    fs::write(&path, list).map_err(|e| Error::io(&path, e))?;
    Ok(prepared)
}

/// Makes one video, aside and then renamed.
fn make(item: &Item, target: &Path, config: &PrepareConfig, by_ffmpeg: bool) -> Result<()> {
    let mut aside = target.as_os_str().to_owned();
    aside.push(".part");
    let aside = PathBuf::from(aside);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    match by_ffmpeg && !item.path.is_dir() {
        true => encode(&item.path, &aside, config)?,
        false => frames(&item.path, &aside, config)?,
    }
    fs::rename(&aside, target).map_err(|e| Error::io(target, e))
}

fn encode(path: &Path, aside: &Path, config: &PrepareConfig) -> Result<()> {
    let PrepareConfig { side, keyint, crf } = *config;
    // The short side at most `side`, the other in proportion, both even.
    let short = |of: &str| format!("trunc(min({side},{of})/2)*2");
    let scale = format!("scale='if(gt(iw,ih),-2,{})':'if(gt(iw,ih),{},-2)'", short("iw"), short("ih"));
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-threads", "1", "-i"]).arg(video::local(path));
    command.args([
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
        "-vf",
        &scale,
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
    ]);
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
    // What a call that was broken off left.
    if aside.exists() {
        fs::remove_dir_all(aside).map_err(|e| Error::io(aside, e))?;
    }
    fs::create_dir_all(aside).map_err(|e| Error::io(aside, e))?;
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
mod tests {
    use super::*;
    use crate::data::Dataset;

    const CONFIG: PrepareConfig = PrepareConfig { side: 32, keyint: 4, crf: 20 };

    fn set(dir: &Path) -> Dataset {
        let clips = std::path::absolute("assets/clips").unwrap();
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::copy(clips.join("high_bframes.mp4"), dir.join("sub/a.mp4")).unwrap();
        fs::copy(clips.join("vp9.webm"), dir.join("b.webm")).unwrap();
        fs::write(dir.join("c.mp4"), b"nothing").unwrap();
        fs::write(dir.join("list.txt"), "sub/a.mp4 1\nb.webm 2 9 5\nc.mp4 3\n").unwrap();
        Dataset::open(&dir.join("list.txt"), None).unwrap()
    }

    #[test]
    fn a_set_is_made_smaller_and_a_second_call_finds_it() {
        for by_ffmpeg in [false, ffmpeg_encodes()] {
            let dir = tempfile::tempdir().unwrap();
            let set = set(dir.path());
            let out = dir.path().join("out");
            // Left by a call that was killed.
            fs::create_dir_all(out.join("sub/a.part")).unwrap();
            let first = prepare(&set.items, &out, &CONFIG, by_ffmpeg, || {}).unwrap();
            assert!(first[..2] == [Prepared::Made, Prepared::Made], "{first:?}");
            assert!(matches!(&first[2], Prepared::Failed(why) if why.contains("c.mp4")), "{first:?}");
            let again = prepare(&set.items, &out, &CONFIG, by_ffmpeg, || {}).unwrap();
            assert!(again[..2] == [Prepared::Found, Prepared::Found], "{again:?}");
            let made: Vec<Item> = Dataset::open(&out.join("list.txt"), None).unwrap().items.iter().collect();
            assert_eq!(
                made.iter().map(|i| (i.label, i.part)).collect::<Vec<_>>(),
                [(Some(1), Part::WHOLE), (Some(5), Part { start: 2, frames: 9 })]
            );
            for item in made {
                let mut video = video::open(&item.path).unwrap();
                assert_eq!(video.len(), 24, "{}", item.path.display());
                let frames = video.frames(&[0, 13]).unwrap();
                assert!((42..=44).contains(&frames.width) && frames.height == 32, "{}x{}", frames.width, frames.height);
            }
        }
    }

    #[test]
    fn two_videos_of_one_name_are_refused() {
        let items: Items = [Item::of("a/x.mp4"), Item::of("a/x.avi")].into_iter().collect();
        let error = prepare(&items, Path::new("/nowhere"), &CONFIG, true, || {}).unwrap_err().to_string();
        assert!(error.contains("x.avi") && error.contains("x.mp4"), "{error}");
    }
}
