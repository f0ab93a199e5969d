//! What a file is by its name.

use std::path::Path;

/// Endings of videos; all but the first five want the `ffmpeg` program.
const VIDEOS: [&str; 41] = [
    "mp4", "mov", "m4v", "webm", "mkv", "avi", "mpg", "mpeg", "ts", "m2ts", "wmv", "flv", "3gp", "gif", "mts", "m2t",
    "tp", "trp", "mod", "tod", "vob", "ogv", "ogm", "asf", "mxf", "f4v", "3g2", "3gpp", "qt", "m1v", "m2v", "mpe",
    "divx", "rm", "rmvb", "dv", "y4m", "nut", "ivf", "h264", "hevc",
];

/// The ending in small letters; empty if there is none.
pub(crate) fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Whether a file's name is that of a video.
pub(crate) fn is_video(path: &Path) -> bool {
    VIDEOS.contains(&ending(path).as_str())
}

/// Whether a file's name is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    matches!(ending(path).as_str(), "jpg" | "jpeg" | "png" | "webp" | "bmp")
}
