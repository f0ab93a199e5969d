// The second pass of a sum: LANES invocations add what the first pass's workgroups left in `partial`.
#import row_sum

const AHEAD_OF_SUM: u32 = 8u;

// Of the first `count` numbers of `partial`, in a fixed order, for every invocation.
fn list_sum(local: u32, count: u32) -> f32 {
    var sum = 0.0;
    for (var first = local; first < count; first += AHEAD_OF_SUM * LANES) {
        var here: array<f32, AHEAD_OF_SUM>;
        for (var i = 0u; i < AHEAD_OF_SUM; i++) {
            here[i] = partial[min(first + i * LANES, count - 1u)];
        }
        for (var i = 0u; i < AHEAD_OF_SUM; i++) {
            sum += select(0.0, here[i], first + i * LANES < count);
        }
    }
    return row_sum_f32(local, sum);
}
