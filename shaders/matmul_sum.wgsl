// The second pass of a matrix product whose K was cut into ranges: adds the sums of the ranges, in order, and applies the epilogue.
#shader matmul_sum access=quads operand=f32 unit=4
#shader matmul_any_sum access=singles
#import index
#import matmul_$access
#import matmul_ends

#each end ends
@compute @workgroup_size(64)
fn $end(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let width = (params.n + 3u) / 4u;
    let element = linear_group(group, groups) * 64u + local;
    let quad = element % width;
    let row = element / width % params.m;
    part = element / width / params.m;
    if part >= params.batch {
        return;
    }
    var sum = vec4(0.0);
    for (var s = 0u; s < params.splits; s++) {
        slice = part * params.splits + s;
        sum += read_part(row, quad);
    }
    slice = part;
    put_$end(row, quad, combine_$end(row, sum, add_$end(quad), beside_$end(row, quad)));
}
#end
