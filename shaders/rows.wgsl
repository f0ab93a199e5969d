// Moving token rows: placing, slicing, adding positions; see src/op/rows.rs. In entries that end in `_wide` a channel is four.
#import index

struct Params { samples: u32, count: u32, channels: u32, from_len: u32, from_start: u32, to_len: u32, to_start: u32, base: u32 }
// `base`: rows of y before its first; `position` has none for them.
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (B, from_len, C); from_len 0: one row for all
@group(0) @binding(2) var<storage, read> table: array<f32>;         // (P, C) position rows
@group(0) @binding(3) var<storage, read> position: array<u32>;      // (B, to_len) rows of `table`; (B, P) rows of x in `table_gradient`
@group(0) @binding(4) var<storage, read_write> y: array<f32>;       // (B, to_len, C)
@group(0) @binding(5) var<storage, read> x_wide: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> table_wide: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y_wide: array<vec4<f32>>;

struct Place { inside: bool, from_index: u32, to_row: u32, to_index: u32, channel: u32 }

fn place(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Place {
    let i = linear_group(group, groups) * 64u + lane;
    let c = i % params.channels;
    let row = i / params.channels;
    let sample = row / params.count;
    let k = row % params.count;
    let from_row = sample * params.from_len + params.from_start + select(k, 0u, params.from_len == 0u);
    let to_row = sample * params.to_len + params.to_start + k;
    return Place(sample < params.samples, from_row * params.channels + c, to_row, (params.base + to_row) * params.channels + c, c);
}

// y[b, to_start + k] = x[b, from_start + k]
@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = place(group, groups, lane);
    if p.inside {
        y[p.to_index] = x[p.from_index];
    }
}

@compute @workgroup_size(64)
fn copy_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = place(group, groups, lane);
    if p.inside {
        y_wide[p.to_index] = x_wide[p.from_index];
    }
}

// y[b, to_start + k] = x[b, from_start + k] + table[position[b, to_start + k]]
@compute @workgroup_size(64)
fn copy_positioned(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = place(group, groups, lane);
    if p.inside {
        y[p.to_index] = x[p.from_index] + table[position[p.to_row] * params.channels + p.channel];
    }
}

@compute @workgroup_size(64)
fn copy_positioned_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = place(group, groups, lane);
    if p.inside {
        y_wide[p.to_index] = x_wide[p.from_index] + table_wide[position[p.to_row] * params.channels + p.channel];
    }
}

struct Target { inside: bool, filled: bool, from_index: u32, to_index: u32 }

fn target_of(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> Target {
    let i = linear_group(group, groups) * 64u + lane;
    let c = i % params.channels;
    let row = i / params.channels;
    let sample = row / params.to_len;
    let k = row % params.to_len;
    let filled = k >= params.to_start && k < params.to_start + params.count;
    let from_row = sample * params.count + select(0u, k - params.to_start, filled);
    return Target(sample < params.samples, filled, from_row * params.channels + c, params.base * params.channels + i);
}

// y (B, to_len, C): x's rows in [to_start, to_start + count), zeros elsewhere; here `count` is to_len's share of a sample.
@compute @workgroup_size(64)
fn embed(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = target_of(group, groups, lane);
    if t.inside {
        y[t.to_index] = select(0.0, x[t.from_index], t.filled);
    }
}

@compute @workgroup_size(64)
fn embed_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = target_of(group, groups, lane);
    if t.inside {
        y_wide[t.to_index] = select(vec4(0.0), x_wide[t.from_index], t.filled);
    }
}

// y (P, C): of each row of the table, the sum of x's rows that it was added to; `position` (B, P) says which of a sample's
// `count` rows, from `from_start` on, that is; one behind them all: none. `to_len` is P.
@compute @workgroup_size(64)
fn table_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let row = i / params.channels;
    if row < params.to_len {
        var sum = 0.0;
        for (var b = 0u; b < params.samples; b++) {
            let k = position[b * params.to_len + row];
            let from_row = b * params.from_len + params.from_start + min(k, params.count - 1u);
            sum += select(0.0, x[from_row * params.channels + i % params.channels], k < params.count);
        }
        y[i] = sum;
    }
}

@compute @workgroup_size(64)
fn table_gradient_wide(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    let row = i / params.channels;
    if row < params.to_len {
        var sum = vec4(0.0);
        for (var b = 0u; b < params.samples; b++) {
            let k = position[b * params.to_len + row];
            let from_row = b * params.from_len + params.from_start + min(k, params.count - 1u);
            sum += select(vec4(0.0), x_wide[from_row * params.channels + i % params.channels], k < params.count);
        }
        y_wide[i] = sum;
    }
}
