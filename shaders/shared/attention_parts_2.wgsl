// Parts of rows in workgroup memory and in what is written: two numbers, for head sizes that give a lane no whole vec4.
alias Part = vec2<f32>;

fn put_values(quarter: u32, value: vec4<f32>) {
    values[2u * quarter] = value.xy;
    values[2u * quarter + 1u] = value.zw;
}
