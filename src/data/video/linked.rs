//! Videos of any kind through FFmpeg's libraries, linked in by the feature `ffmpeg`: the frames that the program gives, without
//! a process for every clip.

use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ffmpeg_next::codec::packet::{Ref as _, side_data};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::ffi::{self, AV_TIME_BASE};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::{self, Pixel, stream::Disposition, stream::Stream};
use ffmpeg_next::software::scaling;
use ffmpeg_next::{Dictionary, Packet, Rational, codec, color, decoder, frame, log, media};

use super::ffmpeg::{External, Known, LARGEST_FRAME, PATIENCE};
use super::rgb::{quarter_turns, turned};
use super::{Facts, Frames, Reader, Video, span};
use crate::data::error::{Error, Result};

/// What the libraries call trouble.
type Trouble = ffmpeg_next::Error;
type Outcome<T> = std::result::Result<T, Trouble>;

pub(super) struct Linked {
    path: PathBuf,
    known: Known,
}

/// When something last came out of a file; reading is given up after too long without.
struct Alive {
    start: Instant,
    last: AtomicU64,
}

impl Alive {
    fn sign(&self) {
        self.last.store(self.start.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn is_lost(&self) -> bool {
        self.start.elapsed().as_secs() > self.last.load(Ordering::Relaxed) + PATIENCE.as_secs()
    }
}

/// An open file, and the decoder of the video stream that is shown.
struct Opened {
    input: Input,
    stream: usize,
    time_base: Rational,
    codec: &'static str,
    decoder: decoder::Video,
    turns: u8,
    alive: Arc<Alive>,
}

impl Opened {
    /// Neither names nor protocols mean anything to the libraries: they get bytes alone.
    ///
    /// # Errors
    /// `Unsupported` where the `ffmpeg` program may know more.
    fn open(path: &Path) -> Result<Opened> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let broken = |e: Trouble| Error::video(path, format!("FFmpeg's libraries: {e}"));
        // What is wrong comes as errors; their own words on the terminal name no file.
        log::set_level(log::Level::Quiet);
        let alive = Arc::new(Alive { start: Instant::now(), last: AtomicU64::new(0) });
        let watched = Arc::clone(&alive);
        let io = StreamIo::from_read_seek(file).map_err(broken)?;
        let input = format::input_from_stream_with_interrupt(io, None, None, move || watched.is_lost());
        let input = input.map_err(broken)?;
        let has = |stream: &Stream<'_>, what: Disposition| stream.disposition().contains(what);
        let is_video = |stream: &Stream<'_>| {
            stream.parameters().medium() == media::Type::Video && !has(stream, Disposition::ATTACHED_PIC)
        };
        let default = input.streams().find(|stream| is_video(stream) && has(stream, Disposition::DEFAULT));
        let stream = default.or_else(|| input.streams().find(is_video));
        let stream = stream.ok_or_else(|| Error::video(path, "FFmpeg's libraries find no video in it"))?;
        let (codec, unsupported) = (stream.parameters().id().name(), |reason: String| Error::Unsupported {
            path: path.to_owned(),
            reason: format!("FFmpeg's libraries, {}: {reason}", stream.parameters().id().name()),
        });
        let decoder = decoder(&stream).map_err(|e| unsupported(e.to_string()))?;
        let turns = turns(&stream).map_err(|matrix| unsupported(format!("shown through the matrix {matrix:?}")))?;
        let (index, time_base) = (stream.index(), stream.time_base());
        Ok(Opened { input, stream: index, time_base, codec, decoder, turns, alive })
    }

    /// The stream's next packet; none at the end.
    fn packet(&mut self) -> Outcome<Option<Packet>> {
        loop {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => self.alive.sign(),
                // As for the program, a file ends where it is damaged beyond finding the next packet.
                Err(Trouble::Eof | Trouble::InvalidData) => return Ok(None),
                Err(trouble) => return Err(trouble),
            }
            if packet.stream() == self.stream {
                return Ok(Some(packet));
            }
        }
    }

    /// The next frame in the order of presentation; false at the end.
    fn frame(&mut self, frame: &mut frame::Video) -> Outcome<bool> {
        loop {
            match self.decoder.receive_frame(frame) {
                Ok(()) => return Ok(true),
                Err(Trouble::Eof) => return Ok(false),
                Err(Trouble::Other { errno: EAGAIN }) => match self.packet()? {
                    Some(packet) => self.decoder.send_packet(&packet)?,
                    None => self.decoder.send_eof()?,
                },
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn seconds(&self, time: Option<i64>) -> Option<f64> {
        time.map(|time| time as f64 * f64::from(self.time_base))
    }
}

fn decoder(stream: &Stream<'_>) -> Outcome<decoder::Video> {
    let mut limits = Dictionary::new();
    limits.set("max_pixels", &LARGEST_FRAME.to_string());
    let codec = decoder::find(stream.parameters().id()).ok_or(Trouble::DecoderNotFound)?;
    let mut decoder = codec::Context::from_parameters(stream.parameters())?.decoder();
    decoder.set_packet_time_base(stream.time_base());
    decoder.open_as_with(codec, limits)?.video()
}

/// Quarter turns that show a stream's frames upright, or a matrix that does more.
fn turns(stream: &Stream<'_>) -> std::result::Result<u8, [i32; 4]> {
    let matrix = stream.side_data().find(|data| data.kind() == side_data::Type::DisplayMatrix);
    let Some(matrix) = matrix else { return Ok(0) };
    let (numbers, _) = matrix.data().as_chunks::<4>();
    // Rows (a, b, u) and (c, d, v).
    let part = [0, 1, 3, 4].map(|at: usize| numbers.get(at).map_or(0, |bytes| i32::from_ne_bytes(*bytes)));
    quarter_turns(part).ok_or(part)
}

/// Whether an edit list hides the frame of a packet.
fn is_hidden(packet: &Packet) -> bool {
    // SAFETY: the packet lives, and its flags are a plain number.
    unsafe { (*packet.as_ptr()).flags & ffi::AV_PKT_FLAG_DISCARD != 0 }
}

/// Converts frames of one size and format to RGB as the program does.
struct Converter {
    scaler: scaling::Context,
    colour: (color::Space, color::Range),
    rgb: frame::Video,
}

impl Converter {
    fn new(frame: &frame::Video) -> Outcome<Converter> {
        let (width, height) = (frame.width(), frame.height());
        let flags = scaling::Flags::BICUBIC;
        let mut scaler = scaling::Context::get(frame.format(), width, height, Pixel::RGB24, width, height, flags)?;
        let colour = (frame.color_space(), frame.color_range());
        let space: ffi::AVColorSpace = colour.0.into();
        let old_full = matches!(frame.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P);
        let full = colour.1 == color::Range::JPEG || old_full;
        // SAFETY: the context lives, tables of coefficients are constants of the library, and `get` fills all that `set`
        // reads.
        unsafe {
            let (mut from, mut to) = (std::ptr::null_mut(), std::ptr::null_mut());
            let (mut from_full, mut to_full, mut brightness, mut contrast, mut saturation) = (0, 0, 0, 0, 0);
            let context = scaler.as_mut_ptr();
            let got = ffi::sws_getColorspaceDetails(
                context,
                &raw mut from,
                &raw mut from_full,
                &raw mut to,
                &raw mut to_full,
                &raw mut brightness,
                &raw mut contrast,
                &raw mut saturation,
            );
            // Formats without a matrix have no details, and need none.
            if got >= 0 {
                let from = ffi::sws_getCoefficients(space as i32);
                let full = i32::from(full);
                ffi::sws_setColorspaceDetails(context, from, full, to, to_full, brightness, contrast, saturation);
            }
        }
        Ok(Converter { scaler, colour, rgb: frame::Video::empty() })
    }

    fn fits(&self, frame: &frame::Video) -> bool {
        let input = self.scaler.input();
        (input.format, input.width, input.height) == (frame.format(), frame.width(), frame.height())
            && self.colour == (frame.color_space(), frame.color_range())
    }

    fn convert(&mut self, frame: &frame::Video) -> Outcome<Vec<u8>> {
        self.scaler.run(frame, &mut self.rgb)?;
        let (row, rows) = (3 * frame.width() as usize, frame.height() as usize);
        let mut rgb = Vec::with_capacity(row * rows);
        let padded = self.rgb.data(0).chunks(self.rgb.stride(0)).take(rows);
        padded.for_each(|line| rgb.extend_from_slice(&line[..row]));
        Ok(rgb)
    }
}

impl Linked {
    /// A video of which all is known.
    pub fn of(path: &Path, known: &Known) -> Self {
        Linked { path: path.to_owned(), known: known.clone() }
    }

    /// Lists the video's frames; `why` says why the built-in decoder does not read it.
    ///
    /// # Errors
    /// `Unsupported` where the `ffmpeg` program may know more.
    pub fn open(path: &Path, why: &str) -> Result<Self> {
        let mut opened = Opened::open(path).map_err(|error| match error {
            Error::Video { path, reason } => Error::Video { path, reason: format!("{why}; {reason}") },
            other => other,
        })?;
        let codec = opened.codec;
        let mut times = Vec::new();
        let broken = |e: Trouble| Error::video(path, format!("{why}; FFmpeg's libraries, {codec}: {e}"));
        while let Some(packet) = opened.packet().map_err(broken)? {
            // The program counts what can be decoded.
            if times.is_empty() && !packet.is_key() {
                let reason = format!("{why}; FFmpeg's libraries, {codec}: the video starts within a group of pictures");
                return Err(Error::Unsupported { path: path.to_owned(), reason });
            }
            if !is_hidden(&packet) {
                times.push(opened.seconds(packet.pts()));
            }
        }
        if times.is_empty() {
            return Err(Error::video(path, format!("{why}; FFmpeg's libraries find no frame in it")));
        }
        let container = opened.input.format().name().split(',').next().unwrap_or_default().to_owned();
        Ok(Linked { path: path.to_owned(), known: Known::new(path, container, codec.to_owned(), times)? })
    }

    fn broken(&self, reason: impl Display) -> Error {
        Error::video(&self.path, format!("{}, by FFmpeg's libraries: {reason}", self.known.codec()))
    }

    /// The frames of some ranks from the first on, decoded from a time halfway to the first or from the start.
    fn decode(&self, ranks: &[usize], (first, last): (usize, usize), from: Option<f64>) -> Result<Frames> {
        let broken = |e: Trouble| self.broken(e);
        let mut opened = Opened::open(&self.path)?;
        let mut at = 0;
        if let Some(seconds) = from {
            let time = (seconds * f64::from(AV_TIME_BASE)) as i64;
            opened.input.seek(time, ..time).map_err(broken)?;
            at = first;
        }
        let mut frames = Frames { width: 0, height: 0, rgb: vec![Vec::new(); ranks.len()] };
        let (mut frame, mut converter) = (frame::Video::empty(), None);
        while at <= last {
            if !opened.frame(&mut frame).map_err(broken)? {
                return Err(self.broken(format!("no frame {at} of {}", self.len())));
            }
            if let (Some(from), true) = (from, at == first) {
                match opened.seconds(frame.timestamp()) {
                    Some(time) if time < from => continue,
                    Some(time) if self.known.is_at(first, time) => {}
                    _ => return Err(self.broken("seeking led astray")),
                }
            }
            let places: Vec<usize> = (0..ranks.len()).filter(|i| ranks[*i] == at).collect();
            if !places.is_empty() {
                if frame.is_corrupt() || frame.has_decode_errors() {
                    return Err(self.broken(format!("frame {at} is damaged")));
                }
                let converter = match &mut converter {
                    Some(converter) if Converter::fits(converter, &frame) => converter,
                    other => other.insert(Converter::new(&frame).map_err(broken)?),
                };
                let rgb = converter.convert(&frame).map_err(broken)?;
                let (width, height) = (frame.width() as usize, frame.height() as usize);
                let (rgb, width, height) = turned(rgb, width, height, opened.turns);
                if frames.width != 0 && (frames.width, frames.height) != (width, height) {
                    let reason =
                        format!("frames change from {}x{} to {width}x{height} pixels", frames.width, frames.height);
                    return Err(Error::Unsupported { path: self.path.clone(), reason });
                }
                frames.put(&self.path, &places, (width, height), rgb)?;
            }
            at += 1;
        }
        Ok(frames)
    }
}

impl Video for Linked {
    fn len(&self) -> usize {
        self.known.len()
    }

    fn facts(&self) -> Facts {
        self.known.facts(Reader::Linked)
    }

    fn known(&self) -> Option<Known> {
        Some(self.known.clone())
    }

    fn frames(&mut self, ranks: &[usize]) -> Result<Frames> {
        let span = span(ranks, self.len(), |reason| self.broken(reason))?;
        let Some((first, last)) = span else { return Ok(Frames::none()) };
        // Whatever goes wrong on the way to a place may go right from the start.
        if let Some(seconds) = self.known.seek(first)
            && let Ok(frames) = self.decode(ranks, (first, last), Some(seconds))
        {
            return Ok(frames);
        }
        match self.decode(ranks, (first, last), None) {
            // An index may know more of a file than opening it here tells.
            Err(Error::Unsupported { .. }) => External::of(&self.path, &self.known).frames(ranks),
            other => other,
        }
    }
}
