// Patches of a clip as rows in the order of the convolution's weight (c, t, y, x); see src/op/patch.rs.
#import index

struct Params {
    rows: u32, per_sample: u32, indexed: u32, frames: u32, size: u32, tubelet: u32, patch_size: u32, side: u32,
    // Frame k of the tokens is frame k * frame_step / frame_share of the clip.
    frame_step: u32, frame_share: u32,
    // What bytes in [0, 1] are normalised by, a channel each.
    mean_0: f32, mean_1: f32, mean_2: f32, deviation_0: f32, deviation_1: f32, deviation_2: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;      // (B, T, H, W, 3), four to a word
@group(0) @binding(2) var<storage, read> video: array<f32>;      // (B, 3, T, H, W)
@group(0) @binding(3) var<storage, read> index: array<u32>;      // (B, V) tokens in (t, h, w) order
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // (B V, 3 tubelet p p)
@group(0) @binding(5) var<storage, read_write> y_wide: array<vec4<f32>>; // the same

struct Pixel { inside: bool, sample: u32, channel: u32, frame: u32, row: u32, column: u32 }

// The pixel of element e of a row of y.
fn pixel(row: u32, e: u32) -> Pixel {
    let p = params.patch_size;
    var out: Pixel;
    out.inside = row < params.rows;
    out.sample = row / params.per_sample;
    var token = row % params.per_sample;
    if params.indexed == 1u {
        token = index[min(row, params.rows - 1u)];
    }
    let plane = params.side * params.side;
    out.channel = e / (params.tubelet * p * p);
    out.frame = (token / plane * params.tubelet + e / (p * p) % params.tubelet) * params.frame_step / params.frame_share;
    out.row = token % plane / params.side * p + e / p % p;
    out.column = token % params.side * p + e % p;
    return out;
}

// Elements of a row of y, and of one of its channels.
fn width() -> u32 {
    return 3u * per_channel();
}

fn per_channel() -> u32 {
    return params.tubelet * params.patch_size * params.patch_size;
}

// Element of `bytes` where a pixel's channel is.
fn byte_of(q: Pixel) -> u32 {
    return (((q.sample * params.frames + q.frame) * params.size + q.row) * params.size + q.column) * 3u + q.channel;
}

fn byte(at: u32) -> f32 {
    return f32((bytes[at / 4u] >> (at % 4u * 8u)) & 255u) / 255.0;
}

// Mean and deviation of a channel.
fn spread(channel: u32) -> vec2<f32> {
    if channel == 0u {
        return vec2(params.mean_0, params.deviation_0);
    }
    return select(vec2(params.mean_2, params.deviation_2), vec2(params.mean_1, params.deviation_1), channel == 1u);
}

@compute @workgroup_size(64)
fn from_bytes(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let q = pixel(i / width(), i % width());
    if q.inside {
        let normal = spread(q.channel);
        y[i] = (byte(byte_of(q)) - normal.x) / normal.y;
    }
}

// The bytes of a word.
fn four_bytes(word: u32) -> vec4<f32> {
    return vec4<f32>((vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u)) / 255.0;
}

// Four neighbours of a row of pixels an invocation, all channels, where patches and frames are a multiple of 4 wide: three words.
@compute @workgroup_size(64)
fn from_bytes_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let fours = per_channel() / 4u;
    let row = i / fours;
    let q = pixel(row, 4u * (i % fours));
    if q.inside {
        let word = byte_of(q) / 4u;
        let a = four_bytes(bytes[word]);
        let b = four_bytes(bytes[word + 1u]);
        let c = four_bytes(bytes[word + 2u]);
        let to = row * 3u * fours + i % fours;
        y_wide[to] = normalized(vec4(a.x, a.w, b.z, c.y), 0u);
        y_wide[to + fours] = normalized(vec4(a.y, b.x, b.w, c.z), 1u);
        y_wide[to + 2u * fours] = normalized(vec4(a.z, b.y, c.x, c.w), 2u);
    }
}

fn normalized(four: vec4<f32>, channel: u32) -> vec4<f32> {
    let normal = spread(channel);
    return (four - normal.x) / normal.y;
}

@compute @workgroup_size(64)
fn from_normalized(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let q = pixel(i / width(), i % width());
    if q.inside {
        y[i] = video[(((q.sample * 3u + q.channel) * params.frames + q.frame) * params.size + q.row) * params.size + q.column];
    }
}
