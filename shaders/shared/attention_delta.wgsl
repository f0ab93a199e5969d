// The sum over D of dy * out of each row of scores, by four lanes a row. What imports this imports `attention_places`.
const DELTA_ROWS: u32 = 64u;
const SHARERS: u32 = 4u;
var<workgroup> products: array<f32, DELTA_ROWS * SHARERS>;

@compute @workgroup_size(DELTA_ROWS * SHARERS)
fn backward_delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = place(group, local);
    let first = group.x * DELTA_ROWS;
    let start = in_y(at, first + local / SHARERS);
    var sum = 0.0;
    for (var d = local % SHARERS; d < QUARTERS; d += SHARERS) {
        sum += dot(dy[start + d], out[start + d]);
    }
    products[local] = sum;
    workgroupBarrier();
    if local < DELTA_ROWS && first + local < params.tokens {
        let part = local * SHARERS;
        delta_out[in_rows(at, first + local)] = products[part] + products[part + 1u] + products[part + 2u] + products[part + 3u];
    }
}
