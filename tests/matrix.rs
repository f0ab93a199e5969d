//! Videos of many kinds, made by the ffmpeg program on the spot and held against its own frames: count, order, pixels.
//! Without the program there is nothing to hold them against, and these tests fail, unless MVD_WITHOUT_FFMPEG says that none
//! is wanted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mvd::data::video::{self, Reader};

/// Who reads what the program's own decoders do not.
const OTHER: Reader = if cfg!(feature = "ffmpeg") { Reader::Linked } else { Reader::Program };

const H264: &str = "-pix_fmt yuv420p -c:v libx264 -crf 26 -g 12";
const HEVC: &str = "-c:v libx265 -x265-params log-level=error";
const KEYS: &str = "keyint=12:scenecut=0";

fn installed() -> bool {
    let found = |program| Command::new(program).arg("-version").stdout(Stdio::null()).status().is_ok();
    let installed = found("ffmpeg") && found("ffprobe");
    let is_left_out = std::env::var_os("MVD_WITHOUT_FFMPEG").is_some();
    assert!(
        installed || is_left_out,
        "install the ffmpeg program, or set MVD_WITHOUT_FFMPEG=1 to leave these tests out"
    );
    installed
}

/// Runs ffmpeg in a folder; its standard output.
fn ffmpeg(dir: &Path, args: &str) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command.current_dir(dir).args(["-v", "error", "-nostdin", "-y"]).args(args.split_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "ffmpeg {args}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Frames as ffmpeg shows them, cropped to the pixel; those of over 8 bits a sample in two steps, as it spreads chroma by other rules then.
fn expected(dir: &Path, name: &str, bytes: usize) -> Vec<Vec<u8>> {
    let steps = if name.contains("ten_bits") { "-vf format=yuv420p,format=rgb24" } else { "" };
    let raw = ffmpeg(
        dir,
        &format!("-flags unaligned -i {name} -map 0:V:0 {steps} -fps_mode passthrough -f rawvideo -pix_fmt rgb24 -"),
    );
    raw.chunks(bytes).map(<[u8]>::to_vec).collect()
}

/// The kinds: a file's name, who reads it, levels that pixels may be off, and ffmpeg's arguments. `SRC` stands for two
/// seconds of test pictures of a size, `MAIN` for a file of B-frames made first.
fn kinds() -> Vec<(&'static str, Reader, u8, String)> {
    let src = |size: &str| format!("-f lavfi -i testsrc2=size={size}:rate=12:duration=2");
    let x264 =
        |size: &str, params: &str, more: &str| format!("{} {H264} -x264-params {KEYS}:{params} {more}", src(size));
    let (own, other) = (Reader::Own, OTHER);
    let copy = |more: &str| format!("-i main.mp4 -c copy {more}");
    vec![
        ("main.mp4", own, 3, x264("128x96", "bframes=3:b-pyramid=normal", "-profile:v main")),
        ("baseline.mp4", own, 3, x264("128x96", "ref=3", "-profile:v baseline")),
        ("high.mp4", own, 3, x264("128x96", "bframes=4:8x8dct=1:weightp=2", "-profile:v high")),
        ("cavlc.mp4", own, 3, x264("128x96", "cabac=0:bframes=2", "-profile:v high")),
        ("slices.mp4", own, 3, x264("128x96", "slices=4:bframes=2", "-profile:v high")),
        ("constrained_intra.mp4", own, 3, x264("128x96", "constrained-intra=1:bframes=2", "")),
        ("temporal.mp4", own, 3, x264("128x96", "direct=temporal:bframes=5:b-pyramid=strict:ref=5", "")),
        ("weights.mp4", own, 3, x264("128x96", "weightp=2:weightb=1:bframes=3", "-vf fade=in:0:20")),
        ("matrices.mp4", own, 3, x264("128x96", "cqm=jvt:deblock=3,-3:8x8dct=1", "-profile:v high")),
        ("raw_blocks.mp4", own, 3, x264("128x96", "qp=1", "-vf noise=alls=100:allf=t")),
        ("open_gop.mp4", own, 3, x264("128x96", "bframes=3:open-gop=1", "")),
        ("intra_refresh.mp4", own, 3, x264("128x96", "intra-refresh=1", "")),
        ("odd_322x182.mp4", own, 3, x264("322x182", "bframes=2", "")),
        ("k400_340x256.mp4", own, 3, x264("340x256", "bframes=3", "")),
        ("odd_426x240.mp4", own, 3, x264("426x240", "bframes=3", "")),
        ("yuv422.mp4", own, 3, x264("128x96", "bframes=2", "-pix_fmt yuv422p -profile:v high422")),
        ("ten_bits.mp4", own, 4, x264("128x96", "bframes=2", "-pix_fmt yuv420p10le -profile:v high10")),
        ("interlaced.mp4", own, 3, x264("128x96", "tff=1:bframes=2", "-flags +ilme+ildct")),
        ("vfr.mp4", own, 3, x264("128x96", "bframes=2", "-vf select=lt(n\\,9)+not(mod(n\\,4)) -fps_mode vfr")),
        ("bt709.mp4", own, 3, x264("128x96", "colormatrix=bt709", "-colorspace bt709")),
        ("full_range.mp4", own, 3, x264("128x96", "fullrange=on", "-vf scale=out_range=pc -color_range pc")),
        ("mono.mp4", own, 3, x264("128x96", "bframes=2", "-pix_fmt gray -profile:v high")),
        ("turned.mp4", own, 3, copy("-metadata:s:v rotate=90")),
        ("cropped.mp4", own, 3, copy("-bsf:v h264_metadata=crop_left=4:crop_right=2:crop_top=6:crop_bottom=2")),
        ("edit_list.mp4", own, 3, "-ss 0.7 -i main.mp4 -c copy".into()),
        ("edit_end.mp4", own, 3, "-ss 0.7 -t 0.8 -i main.mp4 -c copy".into()),
        ("fragmented.mp4", own, 3, copy("-movflags frag_keyframe+empty_moov")),
        ("fragmented_base.mp4", own, 3, copy("-movflags frag_keyframe+empty_moov+default_base_moof -frag_size 3000")),
        ("fragmented_hybrid.mp4", own, 3, copy("-movflags frag_keyframe")),
        ("faststart.mp4", own, 3, copy("-movflags faststart")),
        ("quicktime.mov", own, 3, copy("")),
        ("h264.mkv", own, 3, copy("")),
        ("vp9.webm", own, 3, format!("{} -pix_fmt yuv420p -c:v libvpx-vp9 -crf 40 -b:v 0 -g 12", src("128x96"))),
        ("vp9_odd.webm", own, 3, format!("{} -pix_fmt yuv420p -c:v libvpx-vp9 -b:v 200k -g 9", src("322x182"))),
        ("vp9_ten_bits.webm", own, 4, format!("{} -pix_fmt yuv420p10le -c:v libvpx-vp9 -crf 40 -b:v 0", src("98x62"))),
        ("vp9.mp4", own, 3, "-i vp9.webm -c copy".into()),
        ("vp9_live.webm", own, 3, "-i vp9.webm -c copy -live 1".into()),
        ("vp9_444.webm", other, 0, format!("{} -pix_fmt yuv444p -c:v libvpx-vp9 -crf 40 -b:v 0", src("98x62"))),
        ("animated.gif", own, 0, format!("{} -r 10", src("96x64"))),
        ("animated.png", own, 0, format!("{} -f apng", src("96x64"))),
        ("still.png", own, 0, format!("{} -frames:v 1", src("96x64"))),
        ("still.bmp", own, 0, format!("{} -frames:v 1", src("96x64"))),
        ("vp8.webm", other, 0, format!("{} -c:v libvpx -b:v 200k", src("128x96"))),
        ("yuv444.mp4", other, 0, x264("128x96", "bframes=2", "-pix_fmt yuv444p -profile:v high444")),
        ("xvid.avi", other, 0, format!("{} -c:v mpeg4 -vtag XVID -bf 2 -g 12 -q:v 6", src("128x96"))),
        ("hevc.mp4", other, 0, format!("{} -pix_fmt yuv420p {HEVC}", src("128x96"))),
        ("av1.mp4", other, 0, format!("{} -pix_fmt yuv420p -c:v libaom-av1 -cpu-used 8 -crf 50 -b:v 0", src("96x64"))),
        ("stream.ts", other, 0, copy("")),
        ("hevc_turned.mp4", other, 0, "-i hevc.mp4 -c copy -metadata:s:v rotate=270".into()),
        ("hevc_edit_list.mp4", other, 0, "-ss 0.7 -i hevc.mp4 -c copy".into()),
        ("hevc_709.mkv", other, 0, format!("-i hevc.mp4 {HEVC} -colorspace bt709 -color_range pc")),
        ("hevc_odd.mp4", other, 3, format!("{} -pix_fmt yuv420p {HEVC}", src("98x62"))),
        ("hevc_422.mp4", other, 3, format!("{} -pix_fmt yuv422p {HEVC}", src("98x62"))),
        ("hevc_10.mp4", other, 3, format!("{} -pix_fmt yuv420p10le {HEVC}", src("98x62"))),
        ("pictures.mkv", other, 0, format!("{} -c:v mjpeg -q:v 3", src("98x62"))),
        ("lossless.avi", other, 0, format!("{} -pix_fmt bgr24 -c:v huffyuv", src("98x62"))),
        ("mpeg2.mpg", other, 0, format!("{} -c:v mpeg2video -bf 2 -g 12 -q:v 4", src("128x96"))),
    ]
}

/// The largest difference of two frames.
fn worst(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn every_kind_gives_ffmpegs_frames() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (name, by, levels, args) in kinds() {
        ffmpeg(dir.path(), &format!("{args} {name}"));
        let outcome = std::panic::catch_unwind(|| compare(dir.path(), name, by, levels));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(text)) => wrong.push(format!("{name}: {text}")),
            Err(_) => wrong.push(format!("{name}: a panic")),
        }
    }
    assert!(wrong.is_empty(), "{} kinds differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn compare(dir: &Path, name: &str, by: Reader, levels: u8) -> Result<(), String> {
    // Its name says nothing true.
    let path = dir.join(format!("{name}.unknown"));
    std::fs::copy(dir.join(name), &path).map_err(|e| e.to_string())?;
    let mut source = video::open(&path).map_err(|e| e.to_string())?;
    let facts = source.facts();
    if facts.reader != by {
        return Err(format!("expected to be read by {by:?}: {facts:?}"));
    }
    let frames = source.frames(&(0..source.len()).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    let expected = expected(dir, name, 3 * frames.width * frames.height);
    if frames.rgb.len() != expected.len() {
        return Err(format!("{} frames, ffmpeg has {}", frames.rgb.len(), expected.len()));
    }
    let off: Vec<u8> = frames.rgb.iter().zip(&expected).map(|(a, b)| worst(a, b)).collect();
    if off.iter().any(|off| *off > levels) {
        return Err(format!("frames are off by {off:?} levels"));
    }
    // One frame alone, from the middle.
    let middle = frames.rgb.len() / 2;
    let alone = source.frames(&[middle]).map_err(|e| e.to_string())?;
    if alone.rgb[0] != frames.rgb[middle] {
        return Err(format!("frame {middle} alone is another"));
    }
    Ok(())
}

fn message(path: &Path) -> String {
    let opened = video::open(path).and_then(|mut video| video.frames(&[0]).map(|_| video.len()));
    opened.map_or_else(|e| e.to_string(), |len| panic!("{} has {len} frames", path.display()))
}

#[test]
fn what_is_no_video_is_an_error_that_names_the_file() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["sound.mp4", "sound.webm", "sound.mp3"] {
        ffmpeg(dir.path(), &format!("-f lavfi -i sine=duration=0.3 {name}"));
    }
    std::fs::write(path("empty.webm"), []).unwrap();
    std::fs::write(path("garbage.avi"), [0x5a; 3000]).unwrap();
    std::fs::write(path("page.mp4"), "<html>403 Forbidden</html>").unwrap();
    for (name, expected) in [
        ("sound.mp4", "no video track"),
        ("sound.webm", "no video track"),
        ("sound.mp3", "no video"),
        ("empty.webm", "an empty file"),
        ("garbage.avi", "not an mp4"),
        ("page.mp4", "not an mp4"),
    ] {
        let text = message(&path(name));
        assert!(text.contains(name) && text.contains(expected), "{text}");
    }
}

/// Files that were cut give the frames before the cut, all of them whole.
#[test]
fn cut_files_end_at_the_cut() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let src = "-f lavfi -i testsrc2=size=128x96:rate=12:duration=2 -pix_fmt yuv420p";
    ffmpeg(dir.path(), &format!("{src} -c:v libx264 -bf 2 -g 12 -movflags faststart h264.mp4"));
    ffmpeg(dir.path(), "-i h264.mp4 -c copy -movflags frag_keyframe+empty_moov fragmented.mp4");
    ffmpeg(dir.path(), "-i h264.mp4 -c copy h264.mkv");
    ffmpeg(dir.path(), &format!("{src} -c:v libvpx-vp9 -b:v 200k -g 12 vp9.webm"));
    for name in ["h264.mp4", "fragmented.mp4", "h264.mkv", "vp9.webm"] {
        let whole = std::fs::read(dir.path().join(name)).unwrap();
        let mut all = video::open(&dir.path().join(name)).unwrap();
        let all = all.frames(&(0..all.len()).collect::<Vec<_>>()).unwrap();
        let path = dir.path().join(format!("cut_{name}"));
        for share in [9, 7, 6] {
            std::fs::write(&path, &whole[..whole.len() * share / 10]).unwrap();
            let mut cut = video::open(&path).unwrap();
            let len = cut.len();
            assert!((4..24).contains(&len), "{name}: {len} frames of {share}/10 of the file");
            let frames = cut.frames(&(0..len).collect::<Vec<_>>()).unwrap();
            // Behind the cut, frames are missing among those that are shown earlier than they are decoded.
            let found = frames.rgb.iter().filter(|rgb| all.rgb.contains(rgb)).count();
            assert_eq!(found, len, "{name}: frames that the whole file has not");
            assert!(frames.rgb[..len - 3] == all.rgb[..len - 3], "{name}: order");
        }
    }
}

/// 960 random clips of 16 frames, 4 apart, of 8 files: every frame as decoding everything gives it.
#[test]
fn random_clips_are_those_of_decoding_everything() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let src = "-f lavfi -i testsrc2=size=112x80:rate=25:duration=5 -pix_fmt yuv420p";
    let x264 = |params: &str, name: &str| {
        ffmpeg(dir.path(), &format!("{src} -c:v libx264 -crf 28 -x264-params {params} {name}"));
    };
    x264("keyint=250:bframes=3:b-pyramid=normal", "long_gop.mp4");
    x264("keyint=16:bframes=0", "short_gop.mp4");
    x264("keyint=30:bframes=4:open-gop=1", "open_gop.mp4");
    x264("keyint=12:bframes=2:cabac=0", "cavlc.mp4");
    ffmpeg(dir.path(), "-i long_gop.mp4 -c copy -movflags frag_keyframe+empty_moov fragmented.mp4");
    ffmpeg(dir.path(), "-ss 1.3 -i open_gop.mp4 -c copy edit_list.mp4");
    ffmpeg(dir.path(), "-i open_gop.mp4 -c copy h264.mkv");
    ffmpeg(dir.path(), &format!("{src} -c:v libvpx-vp9 -b:v 150k -g 40 vp9.webm"));
    let names = ["long_gop.mp4", "short_gop.mp4", "open_gop.mp4", "cavlc.mp4", "fragmented.mp4", "edit_list.mp4"];
    let files: Vec<PathBuf> = names.iter().chain(&["h264.mkv", "vp9.webm"]).map(|name| dir.path().join(name)).collect();
    let mut state = 11u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut clips = 0;
    for file in &files {
        let mut source = video::open(file).unwrap();
        let len = source.len();
        let all = source.frames(&(0..len).collect::<Vec<_>>()).unwrap();
        for _ in 0..120 {
            let start = next(len - 60);
            let ranks: Vec<usize> = (0..16).map(|i| start + 4 * i).filter(|rank| *rank < len).collect();
            // Opened anew, as the loader does.
            let clip = video::open(file).unwrap().frames(&ranks).unwrap();
            let differ = clip.rgb.iter().zip(&ranks).filter(|(rgb, rank)| **rgb != all.rgb[**rank]).count();
            assert_eq!(differ, 0, "{}: frames of the clip from {start}", file.display());
            clips += 1;
        }
    }
    assert_eq!(clips, 960);
}

/// What the linked libraries read wants no program, and what is damaged is an error that names file and codec.
#[cfg(feature = "ffmpeg")]
#[test]
fn linked_libraries_need_no_program() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["hevc.mp4", "xvid.avi"];
    for name in names {
        std::fs::copy(Path::new("assets/clips").join(name), dir.path().join(name)).unwrap();
    }
    let mut check = Command::new(env!("CARGO_BIN_EXE_mvd"));
    let output = check.arg("check-data").arg(dir.path()).args(["--decode", "all"]).env("PATH", "").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("0 of 2 cannot be read"), "{text}");
    assert_eq!(text.matches("libav").count(), 2, "{text}");

    let mut errors = 0;
    for name in names {
        let (whole, path) = (std::fs::read(dir.path().join(name)).unwrap(), dir.path().join(format!("damaged_{name}")));
        for start in (whole.len() / 8..whole.len() - 64).step_by(whole.len() / 24) {
            let mut damaged = whole.clone();
            damaged[start..start + 64].fill(0xa5);
            std::fs::write(&path, damaged).unwrap();
            let read = video::open(&path).and_then(|mut video| video.frames(&(0..24).collect::<Vec<_>>()));
            let Err(error) = read else { continue };
            let (text, codec) = (error.to_string(), if name == "hevc.mp4" { "hevc" } else { "mpeg4" });
            assert!(text.contains(name), "{text}");
            errors += usize::from(text.contains(codec));
        }
    }
    assert!(errors > 8, "{errors} damaged files were errors that name the codec");
}
