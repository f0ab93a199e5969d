// Where `Recorder::image` puts the four numbers 4 index, 4 index + 1, ...: rows of 1024 texels.
fn texel(index: u32) -> vec2<u32> {
    return vec2(index & 1023u, index >> 10u);
}
