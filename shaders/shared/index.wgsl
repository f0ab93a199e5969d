// Undoes the folding of `grid` in src/gpu/recorder.rs.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
