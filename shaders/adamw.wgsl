// AdamW with decoupled decay over one chunk of a parameter set's arenas; see src/op/adamw.rs.
#import index
#import step

// `len` words, a multiple of 64: four an invocation.
struct Params { len: u32, clip_slot: u32, canary_slot: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> grad: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> moment1: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> moment2: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> groups_of: array<vec2<f32>>; // (len / 64) lr scale and decay factor
@group(0) @binding(7) var<storage, read> scalars: array<f32>;
@group(0) @binding(8) var<storage, read_write> written: array<f32>;   // `scalars`, to write the canary

@compute @workgroup_size(64)
fn update(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= params.len / 4u {
        return;
    }
    let rule = groups_of[i / 16u];
    let g = grad[i] * scalars[params.clip_slot];
    let m = fma(vec4(step.beta1), moment1[i], (1.0 - step.beta1) * g);
    let v = fma(vec4(step.beta2), moment2[i], (1.0 - step.beta2) * g * g);
    let lr = step.lr * rule.x;
    let decayed = weight[i] * (1.0 - lr * step.weight_decay * rule.y);
    moment1[i] = m;
    moment2[i] = v;
    weight[i] = decayed - lr / step.correction1 * m / (sqrt(v / step.correction2) + step.eps);
}

@compute @workgroup_size(1)
fn canary() {
    written[params.canary_slot] = f32(step.step);
}
