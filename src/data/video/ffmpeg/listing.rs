//! Which stream of a file is its video, and which frames it has.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use super::program::{Program, joined, passthrough};
use super::{Known, local};
use crate::data::error::{Error, Result};

/// A video stream as `ffprobe` sees it.
#[derive(Debug, Clone, Default)]
struct Stream {
    codec: String,
    /// As it is shown.
    size: Option<(usize, usize)>,
    /// Shown unless another is asked for.
    default: bool,
    /// A cover, or pictures of chapters.
    attached: bool,
    /// Presentation times of packets, without those that an edit list hides.
    times: Vec<Option<f64>>,
    /// Decoding cannot start at the first packet, or frames before it are coded behind it.
    starts_inside: bool,
    first: Option<f64>,
}

/// What `ffprobe` says of a file.
#[derive(Default)]
struct Probed {
    container: String,
    streams: BTreeMap<usize, Stream>,
    /// Its complaints.
    said: String,
}

/// A number of `KEY=VALUE` fields.
fn value<'a>(fields: &[&'a str], key: &str) -> Option<&'a str> {
    fields.iter().find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

impl Stream {
    fn describe(&mut self, fields: &[&str]) {
        let number = |key: &str| value(fields, key).and_then(|text| text.parse::<usize>().ok());
        let is_set = |key: &str| value(fields, key) == Some("1");
        let rotation = value(fields, "rotation").or(value(fields, "tag:rotate"));
        let turned =
            rotation.and_then(|text| text.parse::<f64>().ok()).is_some_and(|turn| turn.rem_euclid(180.0) == 90.0);
        let size = number("width").zip(number("height")).filter(|(w, h)| *w > 0 && *h > 0);
        self.size = size.map(|(w, h)| if turned { (h, w) } else { (w, h) });
        self.codec = value(fields, "codec_name").unwrap_or_default().to_owned();
        self.default = is_set("disposition:default");
        self.attached = is_set("disposition:attached_pic") || is_set("disposition:timed_thumbnails");
    }

    fn packet(&mut self, fields: &[&str]) {
        let flags = value(fields, "flags").unwrap_or_default();
        let time: Option<f64> = value(fields, "pts_time").and_then(|text| text.parse().ok());
        if self.times.is_empty() && self.first.is_none() {
            self.starts_inside = !flags.contains('K');
            self.first = time;
        }
        self.starts_inside |= time < self.first;
        if !flags.contains('D') {
            self.times.push(time);
        }
    }
}

fn probe(path: &Path, why: &str) -> Result<Probed> {
    let stream = "stream=index,codec_type,codec_name,width,height:stream_side_data=rotation:stream_tags=rotate";
    let disposition = "stream_disposition=default,attached_pic,timed_thumbnails";
    let entries = format!("packet=stream_index,pts_time,flags:{stream}:{disposition}:format=format_name");
    let mut program = Program::start("ffprobe", path, why, |command| {
        command.args(["-v", "error", "-select_streams", "v", "-show_entries", &entries, "-of", "compact"]);
        command.arg("-i").arg(local(path));
    })?;
    let (mut probed, mut line) = (Probed::default(), String::new());
    loop {
        line.clear();
        let count = program.out.read_line(&mut line);
        if count.map_err(|e| program.error(path, &joined(why, &format!("ffprobe: {e}"))))? == 0 {
            break;
        }
        program.sign();
        let fields: Vec<&str> = line.trim().split('|').collect();
        let index = |key: &str| value(&fields, key).and_then(|text| text.parse::<usize>().ok());
        match (fields[0], index("stream_index"), index("index")) {
            ("packet", Some(index), _) => probed.streams.entry(index).or_default().packet(&fields),
            ("stream", _, Some(index)) => probed.streams.entry(index).or_default().describe(&fields),
            ("format", ..) => {
                let names = value(&fields, "format_name").unwrap_or_default();
                probed.container = names.split(',').next().unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    if program.is_lost() {
        return Err(program.error(path, why));
    }
    probed.said = program.end().0;
    Ok(probed)
}

impl Probed {
    /// The stream that is shown: the first default one, else the first; attached pictures are none.
    fn chosen(&self) -> Option<(usize, &Stream)> {
        let streams = || self.streams.iter().filter(|(_, stream)| !stream.attached);
        let default = streams().find(|(_, stream)| stream.default);
        default.or_else(|| streams().next()).map(|(index, stream)| (*index, stream))
    }
}

/// The stream of a file that is its video, for the `ffmpeg` program's `-map`.
///
/// # Errors
/// There is none, or no program to tell.
pub(in crate::data) fn mapped(path: &Path) -> Result<String> {
    let probed = probe(path, "")?;
    probed
        .chosen()
        .map(|(index, _)| format!("0:{index}"))
        .ok_or_else(|| Error::video(path, "ffprobe finds no video in it"))
}

/// Lists a video's frames. Where its packets are not sure to be frames, all of it is decoded: where it starts within a
/// group of pictures, its container has no times of frames, or `ffprobe` complains.
pub(super) fn list(path: &Path, why: &str) -> Result<Known> {
    let probed = probe(path, why)?;
    let Some((index, stream)) = probed.chosen() else {
        let says = if probed.said.is_empty() { String::new() } else { format!(": {}", probed.said) };
        let reason = format!("ffprobe finds no video in it either{says}");
        return Err(Error::video(path, joined(why, &reason)));
    };
    let Stream { codec, size, times, .. } = stream.clone();
    let mut known = Known::new(path, probed.container.clone(), codec, times)?;
    (known.stream, known.size) = (Some(index), size);
    if !known.seekable || stream.starts_inside || stream.times.is_empty() || !probed.said.is_empty() {
        known = count(path, &known, why)?;
    }
    Ok(known)
}

/// Counts a video's frames by decoding all of them.
pub(super) fn count(path: &Path, known: &Known, why: &str) -> Result<Known> {
    let mut program = Program::start("ffmpeg", path, why, |command| {
        command.args(["-v", "error", "-nostdin", "-threads", "1", "-i"]).arg(local(path));
        command.args(["-map", &known.map(), "-copyts"]).args(passthrough()).args(["-f", "framecrc", "-"]);
    })?;
    let (mut times, mut size, mut unit, mut line) = (Vec::new(), known.size, None, String::new());
    loop {
        line.clear();
        let count = program.out.read_line(&mut line);
        if count.map_err(|e| program.error(path, &joined(why, &format!("ffmpeg: {e}"))))? == 0 {
            break;
        }
        program.sign();
        let pair = |text: &str, by: char| {
            text.trim().split_once(by).and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
        };
        if let Some(rest) = line.strip_prefix("#tb 0:") {
            unit = pair(rest, '/').map(|(a, b): (f64, f64)| a / b);
        } else if let Some(rest) = line.strip_prefix("#dimensions 0:") {
            size = pair(rest, 'x').map(|(w, h): (f64, f64)| (w as usize, h as usize));
        } else if !line.starts_with('#') {
            let time = line.split(',').nth(2).and_then(|text| text.trim().parse::<f64>().ok());
            times.push(time.zip(unit).map(|(time, unit)| time * unit));
        }
    }
    if times.is_empty() || program.is_lost() {
        return Err(program.error(path, &joined(why, "ffmpeg decodes no frame of it")));
    }
    let mut counted = Known::new(path, known.container.clone(), known.codec.clone(), times)?;
    (counted.stream, counted.size, counted.counted) = (known.stream, size, true);
    Ok(counted)
}
