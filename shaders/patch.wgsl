// Patches of a clip as rows in the order of the convolution's weight (c, t, y, x); see src/op/patch.rs.
#import index

struct Params {
    rows: u32, per_sample: u32, indexed: u32, frames: u32, size: u32, tubelet: u32, patch_size: u32, frame_step: u32, side: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;      // (B, T, H, W, 3), four to a word
@group(0) @binding(2) var<storage, read> video: array<f32>;      // (B, 3, T, H, W)
@group(0) @binding(3) var<storage, read> index: array<u32>;      // (B, V) tokens in (t, h, w) order
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // (B V, 3 tubelet p p)

struct Pixel { inside: bool, to: u32, sample: u32, channel: u32, frame: u32, row: u32, column: u32 }

fn pixel(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Pixel {
    let i = linear_group(group, groups) * 64u + lane;
    let p = params.patch_size;
    let width = 3u * params.tubelet * p * p;
    let row = i / width;
    let e = i % width;
    var out: Pixel;
    out.inside = row < params.rows;
    out.to = i;
    out.sample = row / params.per_sample;
    var token = row % params.per_sample;
    if params.indexed == 1u {
        token = index[min(row, params.rows - 1u)];
    }
    let plane = params.side * params.side;
    out.channel = e / (params.tubelet * p * p);
    out.frame = (token / plane * params.tubelet + e / (p * p) % params.tubelet) * params.frame_step;
    out.row = token % plane / params.side * p + e / p % p;
    out.column = token % params.side * p + e % p;
    return out;
}

@compute @workgroup_size(64)
fn from_bytes(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let q = pixel(group, groups, lane);
    if !q.inside {
        return;
    }
    let at = (((q.sample * params.frames + q.frame) * params.size + q.row) * params.size + q.column) * 3u + q.channel;
    let byte = (bytes[at / 4u] >> (at % 4u * 8u)) & 255u;
    // ImageNet's mean and deviation.
    var mean = 0.485;
    var deviation = 0.229;
    if q.channel == 1u {
        mean = 0.456;
        deviation = 0.224;
    } else if q.channel == 2u {
        mean = 0.406;
        deviation = 0.225;
    }
    y[q.to] = (f32(byte) / 255.0 - mean) / deviation;
}

@compute @workgroup_size(64)
fn from_normalized(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let q = pixel(group, groups, lane);
    if q.inside {
        y[q.to] = video[(((q.sample * 3u + q.channel) * params.frames + q.frame) * params.size + q.row) * params.size + q.column];
    }
}
