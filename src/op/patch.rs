//! Cutting clips into patches: one row a token, in the order of the patch convolution's weight (c, t, y, x).
//!
//! From bytes `frames (B, T, H, W, 3)`, normalised on the way by ImageNet's mean and deviation, or from an already
//! normalised `video (B, 3, T, H, W)`. No gradient: clips are inputs.

use super::check::Case;
use crate::gpu::{HostNode, Recorder, Tensor, grid};

/// How tokens lie in a clip.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of a token in pixels.
    pub patch: usize,
    /// Only every `frame_step`-th frame is looked at (the image teacher's one frame a tubelet).
    pub frame_step: usize,
}

/// ImageNet's mean of red, green, blue.
pub const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// ImageNet's standard deviation of red, green, blue.
pub const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

#[derive(Clone, Copy)]
struct Sizes {
    samples: usize,
    frames: usize,
    size: usize,
    per_sample: usize,
    indexed: bool,
    cut: Cut,
}

impl Sizes {
    fn side(&self) -> usize {
        self.size / self.cut.patch
    }

    /// Calls `put(element of y, sample, channel, frame, row, column)` for every pixel of every row.
    fn each(&self, index: Option<&[f64]>, mut put: impl FnMut(usize, usize, usize, usize, usize, usize)) {
        let Cut { tubelet, patch: p, frame_step } = self.cut;
        let (side, width) = (self.side(), 3 * tubelet * p * p);
        for row in 0..self.samples * self.per_sample {
            let token = index.map_or(row % self.per_sample, |i| i[row] as usize);
            let (t, h, w) = (token / (side * side), token / side % side, token % side);
            for e in 0..width {
                let (c, dt, dy, dx) = (e / (tubelet * p * p), e / (p * p) % tubelet, e / p % p, e % p);
                let frame = (t * tubelet + dt) * frame_step;
                put(row * width + e, row / self.per_sample, c, frame, h * p + dy, w * p + dx);
            }
        }
    }
}

fn record(
    rec: &mut Recorder,
    entry: &'static str,
    source: Tensor,
    index: Option<Tensor>,
    z: (usize, usize, usize),
    cut: Cut,
    twin: fn(&mut HostNode<'_>, Sizes),
) -> Tensor {
    let (samples, frames, size) = z;
    let tokens = frames / cut.frame_step / cut.tubelet * (size / cut.patch) * (size / cut.patch);
    let per_sample = index.map_or(tokens, |i| rec.width(i));
    let z = Sizes { samples, frames, size, per_sample, indexed: index.is_some(), cut };
    let width = 3 * cut.tubelet * cut.patch * cut.patch;
    let y = rec.transient("patches", &[samples * per_sample, width]);
    let mut inputs = vec![source];
    inputs.extend(index);
    rec.node("patch", &inputs, &[y], 0.0, move |h| twin(h, z));
    let from_bytes = entry == "from_bytes";
    let binding = if from_bytes { "bytes" } else { "video" };
    let (entry, y_binding, each) = if from_bytes && cut.patch.is_multiple_of(4) && size.is_multiple_of(4) {
        ("from_bytes_wide", "y_wide", 12)
    } else {
        (entry, "y", 1)
    };
    // Without an index the binding is not read; any tensor will do.
    let dispatch = rec.dispatch("patch", entry).bind(binding, source).bind("index", index.unwrap_or(source));
    dispatch
        .bind(y_binding, y)
        .u32("rows", samples * per_sample)
        .u32("per_sample", per_sample)
        .u32("indexed", usize::from(z.indexed))
        .u32("frames", frames)
        .u32("size", size)
        .u32("tubelet", cut.tubelet)
        .u32("patch_size", cut.patch)
        .u32("frame_step", cut.frame_step)
        .u32("side", z.side())
        .groups(grid((samples * per_sample * width / each).div_ceil(64)));
    y
}

/// Rows (B V, 3 tubelet p p) of `frames (B, T, H, H, 3)` in bytes; `index (B, V)` picks tokens, none takes all.
pub fn from_bytes(rec: &mut Recorder, frames: Tensor, index: Option<Tensor>, cut: Cut) -> Tensor {
    let [samples, count, size, _, 3] = *rec.shape(frames) else { panic!("patch: frames must be (B, T, H, H, 3)") };
    record(rec, "from_bytes", frames, index, (samples, count, size), cut, |h, z| {
        let y = &mut h.outputs[0];
        z.each(h.inputs.get(1).copied().filter(|_| z.indexed), |to, b, c, frame, row, column| {
            let byte = h.inputs[0][(((b * z.frames + frame) * z.size + row) * z.size + column) * 3 + c];
            y[to] = (byte / 255.0 - MEAN[c]) / DEVIATION[c];
        });
    })
}

/// The same rows of an already normalised `video (B, 3, T, H, H)`.
pub fn from_normalized(rec: &mut Recorder, video: Tensor, index: Option<Tensor>, cut: Cut) -> Tensor {
    let [samples, 3, count, size, _] = *rec.shape(video) else { panic!("patch: video must be (B, 3, T, H, H)") };
    record(rec, "from_normalized", video, index, (samples, count, size), cut, |h, z| {
        let y = &mut h.outputs[0];
        z.each(h.inputs.get(1).copied().filter(|_| z.indexed), |to, b, c, frame, row, column| {
            y[to] = h.inputs[0][(((b * 3 + c) * z.frames + frame) * z.size + row) * z.size + column];
        });
    })
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let bytes = |frames: usize, size: usize, cut: Cut, visible: Option<usize>| {
        Case::new(format!("patch {frames} frames of {size}, {cut:?}, visible {visible:?}"), move |rig| {
            let source = rig.bytes("frames", &[2, frames, size, size, 3]);
            let tokens = frames / cut.tubelet * (size / cut.patch).pow(2);
            let index = visible.map(|v| {
                let values: Vec<u32> = (0..2 * v).map(|i| (i * 7 % tokens) as u32).collect();
                rig.index("index", &[2, v], &values)
            });
            from_bytes(&mut rig.rec, source, index, cut)
        })
    };
    let normalized = Case::new("patch of a normalised video", |rig| {
        let video = rig.input("video", &[2, 3, 4, 16, 16]);
        let index = rig.index("index", &[2, 3], &[0, 7, 3, 5, 6, 1]);
        from_normalized(&mut rig.rec, video, Some(index), Cut { tubelet: 2, patch: 8, frame_step: 1 })
    });
    let image = Cut { tubelet: 1, patch: 7, frame_step: 2 };
    vec![
        bytes(4, 16, Cut { tubelet: 2, patch: 8, frame_step: 1 }, Some(5)),
        bytes(2, 21, Cut { tubelet: 1, patch: 7, frame_step: 1 }, Some(1)),
        bytes(4, 21, image, None),
        bytes(2, 16, Cut { tubelet: 1, patch: 4, frame_step: 1 }, None),
        bytes(2, 18, Cut { tubelet: 1, patch: 4, frame_step: 1 }, Some(3)),
        normalized,
    ]
}
