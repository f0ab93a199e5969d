//! Files as other programs write them, each of a kind that is easily read wrongly: counted and compared with the `ffmpeg` program.

use std::path::{Path, PathBuf};
use std::process::Command;

use mvd::data::check::{Depth, check};
use mvd::data::video::{self, Frames, Reader};
use mvd::data::{Index, Item, Items};

fn case(name: &str) -> PathBuf {
    Path::new("assets/cases").join(name)
}

/// Frames of a stream as the program shows them; fails without it, as everything is held against it here.
fn shown(path: &Path, stream: &str, bytes: usize) -> Vec<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "quiet", "-nostdin", "-flags", "unaligned", "-i"]).arg(path).args(["-map", stream]);
    command.args(["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    let output = command.output().expect("the ffmpeg program is needed here");
    output.stdout.chunks(bytes).map(<[u8]>::to_vec).collect()
}

fn all(path: &Path) -> (Frames, Reader) {
    let mut video = video::open(path).unwrap_or_else(|error| panic!("{error}"));
    let frames = video.frames(&(0..video.len()).collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error}"));
    (frames, video.facts().reader)
}

fn worst(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Holds a file's frames against the program's: how many, of what size, within 3 levels; and some of them alone.
fn holds(path: &Path, stream: &str, count: usize, size: (usize, usize)) -> Reader {
    let name = path.display();
    let (frames, reader) = all(path);
    assert_eq!((frames.rgb.len(), (frames.width, frames.height)), (count, size), "{name}");
    let expected = shown(path, stream, 3 * size.0 * size.1);
    assert_eq!(expected.len(), count, "{name}: frames by ffmpeg");
    let off: Vec<u8> = frames.rgb.iter().zip(&expected).map(|(a, b)| worst(a, b)).collect();
    assert!(off.iter().all(|off| *off <= 3), "{name}: off by {off:?}");
    for rank in [count - 1, count / 2, count / 2 + 3, 1] {
        // Opened anew, as clips are drawn.
        let alone = video::open(path).unwrap().frames(&[rank]).unwrap();
        assert!(worst(&alone.rgb[0], &expected[rank]) <= 3, "{name}: frame {rank} alone");
    }
    reader
}

#[test]
fn the_stream_that_is_shown_is_read() {
    holds(&case("cover_first.mp4"), "0:V:0", 50, (160, 120));
    assert_eq!(holds(&case("first_track_disabled.mp4"), "0:1", 50, (160, 120)), Reader::Own);
}

#[test]
fn descriptions_and_sizes_may_change() {
    assert_eq!(holds(&case("two_descriptions.mp4"), "0:V:0", 50, (160, 120)), Reader::Own);
    holds(&case("size_changes.mp4"), "0:V:0", 50, (160, 120));
}

#[test]
fn cuts_groups_and_untrue_flags_are_read() {
    holds(&case("starts_inside_gop.ts"), "0:V:0", 50, (160, 120));
    assert_eq!(holds(&case("block_groups.mkv"), "0:V:0", 16, (160, 120)), Reader::Own);
    assert_eq!(holds(&case("all_marked_sync.mp4"), "0:V:0", 50, (160, 120)), Reader::Own);
}

#[test]
fn errors_have_the_programs_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broken.avi");
    let mut bytes = std::fs::read("assets/clips/xvid.avi").unwrap();
    let movi = bytes.windows(4).position(|name| name == b"movi").unwrap() + 4;
    bytes[movi..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = video::open(&path).and_then(|mut video| video.frames(&[0]).map(drop)).unwrap_err().to_string();
    assert!(
        error.contains("broken.avi: not an mp4") && (error.contains("ffmpeg") || error.contains("ffprobe")),
        "{error}"
    );
    // Sound with a cover is no video.
    let sound = dir.path().join("song.m4a");
    let cover = "-f lavfi -i sine=duration=0.2 -f lavfi -i color=red:size=32x32 -frames:v 1 -c:v mjpeg -disposition:v attached_pic";
    let made =
        Command::new("ffmpeg").args(["-v", "error", "-nostdin"]).args(cover.split(' ')).arg(&sound).status().unwrap();
    assert!(made.success());
    let error = video::open(&sound).err().unwrap().to_string();
    assert!(error.contains("song.m4a") && error.contains("no video"), "{error}");
}

/// What our decoders give up on, FFmpeg conceals: a damaged stretch costs frames, and not the file.
#[test]
fn damage_goes_to_ffmpeg_before_it_is_called_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.mp4");
    let mut bytes = std::fs::read("assets/clips/high_bframes.mp4").unwrap();
    let mdat = bytes.windows(4).position(|kind| kind == b"mdat").unwrap() + 4;
    let len = bytes.len();
    bytes[(mdat + len) / 2..(mdat + len) / 2 + 400].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let items: Items = [Item::of(&path)].into_iter().collect();
    let found = check(&items, Depth::All, || {});
    let found = found[0].as_ref().unwrap_or_else(|error| panic!("{error}"));
    let expected = shown(&path, "0:V:0", 3 * 96 * 72).len();
    assert_eq!((found.frames, found.facts.reader), (expected, Reader::Program));
    // What was counted is kept for the next time.
    let index = Index::of(&items, std::slice::from_ref(&Ok(found.clone())));
    assert_eq!(index.len(), 1);
}

#[test]
fn images_are_turned_upright_and_animations_have_all_frames() {
    let path = case("exif6.jpg");
    let (frames, _) = all(&path);
    assert_eq!((frames.rgb.len(), frames.width, frames.height), (1, 60, 80));
    let expected = shown(&path, "0:V:0", 3 * 60 * 80);
    // Decoders of JPEG spread chroma in other ways, which shows at edges.
    let off: usize = frames.rgb[0].iter().zip(&expected[0]).map(|(a, b)| usize::from(a.abs_diff(*b))).sum();
    assert!(off < 3 * frames.rgb[0].len(), "off by {} on average", off as f64 / frames.rgb[0].len() as f64);
    // As a frame of a folder too.
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&path, dir.path().join("1.jpg")).unwrap();
    std::fs::copy(&path, dir.path().join("._1.jpg")).unwrap();
    let (folder, _) = all(dir.path());
    assert_eq!((folder.rgb, folder.width), (frames.rgb, 60));
    // Three frames of one colour each.
    let colours = [[200, 0, 0], [0, 200, 0], [0, 0, 200]];
    let (frames, _) = all(&case("animated.webp"));
    assert_eq!((frames.rgb.len(), frames.width, frames.height), (3, 16, 8));
    for (rgb, colour) in frames.rgb.iter().zip(colours) {
        assert!(rgb.chunks_exact(3).all(|pixel| worst(pixel, &colour) <= 3), "{:?} {colour:?}", &rgb[..3]);
    }
}
