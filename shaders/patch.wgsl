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
@group(0) @binding(5) var<storage, read_write> y_wide: array<vec4<f32>>; // the same

struct Pixel { inside: bool, sample: u32, channel: u32, frame: u32, row: u32, column: u32 }

// The pixel of the i-th element of y.
fn pixel(i: u32) -> Pixel {
    let p = params.patch_size;
    let width = 3u * params.tubelet * p * p;
    let row = i / width;
    let e = i % width;
    var out: Pixel;
    out.inside = row < params.rows;
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

// Element of `bytes` where a pixel's channel is.
fn byte_of(q: Pixel) -> u32 {
    return (((q.sample * params.frames + q.frame) * params.size + q.row) * params.size + q.column) * 3u + q.channel;
}

fn byte(at: u32) -> f32 {
    return f32((bytes[at / 4u] >> (at % 4u * 8u)) & 255u) / 255.0;
}

// ImageNet's mean and deviation of a channel.
fn spread(channel: u32) -> vec2<f32> {
    if channel == 0u {
        return vec2(0.485, 0.229);
    }
    return select(vec2(0.406, 0.225), vec2(0.456, 0.224), channel == 1u);
}

@compute @workgroup_size(64)
fn from_bytes(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let q = pixel(i);
    if q.inside {
        let normal = spread(q.channel);
        y[i] = (byte(byte_of(q)) - normal.x) / normal.y;
    }
}

// Four neighbours of a row of pixels an invocation, where patches are a multiple of 4 wide.
@compute @workgroup_size(64)
fn from_bytes_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let q = pixel(4u * i);
    if q.inside {
        let normal = spread(q.channel);
        let at = byte_of(q);
        let four = vec4(byte(at), byte(at + 3u), byte(at + 6u), byte(at + 9u));
        y_wide[i] = (four - normal.x) / normal.y;
    }
}

@compute @workgroup_size(64)
fn from_normalized(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let q = pixel(i);
    if q.inside {
        y[i] = video[(((q.sample * 3u + q.channel) * params.frames + q.frame) * params.size + q.row) * params.size + q.column];
    }
}
