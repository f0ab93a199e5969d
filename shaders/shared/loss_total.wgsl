// Adds what the first pass left of each sample in `partial` to a loss among the scalars.
#import list_sum

@compute @workgroup_size(LANES)
fn total(@builtin(local_invocation_index) local: u32) {
    let sum = list_sum(local, params.samples);
    if local == 0u {
        scalars[params.slot] += sum * params.scale;
    }
}
