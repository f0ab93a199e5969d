//! Cutting clips into patches: one row a token, in the order of the patch convolution's weight (c, t, y, x).
//!
//! From bytes `frames (B, T, H, W, 3)`, normalised on the way by a mean and a deviation of each colour, or from an
//! already normalised `video (B, 3, T, H, W)`. No gradient: clips are inputs.

use super::check::Case;
use crate::gpu::{HostNode, Recorder, Tensor, grid};

/// Which frames of a clip are looked at: the k-th is frame `k * step / share`, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    step: usize,
    share: usize,
}

impl Pick {
    /// All of them.
    pub const ALL: Pick = Pick { step: 1, share: 1 };

    /// Every `step`-th (the image teacher's one frame a tubelet).
    pub fn every(step: usize) -> Pick {
        Pick { step, share: 1 }
    }

    /// `count` of `frames`, from the first to the last: `linspace(0, frames - 1, count)` without its fractions.
    pub fn spread(count: usize, frames: usize) -> Pick {
        if count > 1 { Pick { step: frames - 1, share: count - 1 } } else { Pick { step: 0, share: 1 } }
    }

    /// The k-th frame that is looked at.
    pub fn frame(&self, k: usize) -> usize {
        k * self.step / self.share
    }

    /// How many of `frames` are looked at.
    fn count(&self, frames: usize) -> usize {
        ((frames - 1) * self.share).checked_div(self.step).map_or(1, |last| last + 1)
    }
}

/// What bytes, as numbers in [0, 1], are normalised by: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colours {
    /// Taken off.
    pub mean: [f64; 3],
    /// Divided by.
    pub deviation: [f64; 3],
}

impl Colours {
    /// ImageNet's mean and standard deviation.
    pub const IMAGENET: Colours = Colours { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
    /// What SlowFast, and with it ST-MAE, take for Kinetics.
    pub const KINETICS: Colours = Colours { mean: [0.45; 3], deviation: [0.225; 3] };
}

/// How tokens lie in a clip.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Frames of a token.
    pub tubelet: usize,
    /// Height and width of a token in pixels.
    pub patch: usize,
    /// Which frames are looked at.
    pub pick: Pick,
    /// What bytes are normalised by.
    pub colours: Colours,
}

impl Cut {
    /// Of all frames, normalised by ImageNet's colours.
    pub fn new(tubelet: usize, patch: usize) -> Cut {
        Cut { tubelet, patch, pick: Pick::ALL, colours: Colours::IMAGENET }
    }
}

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
        let Cut { tubelet, patch: p, pick, .. } = self.cut;
        let (side, width) = (self.side(), 3 * tubelet * p * p);
        for row in 0..self.samples * self.per_sample {
            let token = index.map_or(row % self.per_sample, |i| i[row] as usize);
            let (t, h, w) = (token / (side * side), token / side % side, token % side);
            for e in 0..width {
                let (c, dt, dy, dx) = (e / (tubelet * p * p), e / (p * p) % tubelet, e / p % p, e % p);
                let frame = pick.frame(t * tubelet + dt);
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
    let tokens = cut.pick.count(frames) / cut.tubelet * (size / cut.patch) * (size / cut.patch);
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
    let colours = ["mean_0", "mean_1", "mean_2", "deviation_0", "deviation_1", "deviation_2"].into_iter();
    let values = [cut.colours.mean, cut.colours.deviation].concat();
    let dispatch = colours.zip(values).fold(dispatch, |dispatch, (name, value)| dispatch.f32(name, value as f32));
    dispatch
        .bind(y_binding, y)
        .u32("rows", samples * per_sample)
        .u32("per_sample", per_sample)
        .u32("indexed", usize::from(z.indexed))
        .u32("frames", frames)
        .u32("size", size)
        .u32("tubelet", cut.tubelet)
        .u32("patch_size", cut.patch)
        .u32("frame_step", cut.pick.step)
        .u32("frame_share", cut.pick.share)
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
            y[to] = (byte / 255.0 - z.cut.colours.mean[c]) / z.cut.colours.deviation[c];
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
        from_normalized(&mut rig.rec, video, Some(index), Cut::new(2, 8))
    });
    let spread = Case::new("patch of 3 of 7 frames of a normalised video", |rig| {
        let video = rig.input("video", &[2, 3, 7, 9, 9]);
        let cut = Cut { pick: Pick::spread(3, 7), ..Cut::new(1, 3) };
        from_normalized(&mut rig.rec, video, None, cut)
    });
    let kinetics = |cut: Cut| Cut { colours: Colours::KINETICS, ..cut };
    vec![
        bytes(4, 16, Cut::new(2, 8), Some(5)),
        bytes(2, 21, Cut::new(1, 7), Some(1)),
        bytes(4, 21, Cut { pick: Pick::every(2), ..Cut::new(1, 7) }, None),
        bytes(2, 16, kinetics(Cut::new(1, 4)), None),
        bytes(2, 18, kinetics(Cut::new(1, 4)), Some(3)),
        bytes(8, 16, Cut { pick: Pick::spread(4, 8), ..Cut::new(1, 8) }, None),
        normalized,
        spread,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_spread_over_a_clip_are_those_of_linspace() {
        let of = |count: usize, frames: usize| {
            let pick = Pick::spread(count, frames);
            assert_eq!(pick.count(frames), count);
            (0..count).map(|k| pick.frame(k)).collect::<Vec<_>>()
        };
        // torch.linspace(0, frames - 1, count).long()
        assert_eq!(of(8, 16), [0, 2, 4, 6, 8, 10, 12, 15]);
        assert_eq!(of(4, 8), [0, 2, 4, 7]);
        assert_eq!(of(5, 5), [0, 1, 2, 3, 4]);
        assert_eq!(of(3, 10), [0, 4, 9]);
        assert_eq!(of(1, 2), [0]);
        assert_eq!((Pick::ALL.count(7), Pick::every(2).count(8), Pick::every(2).frame(3)), (7, 4, 6));
    }
}
