// Parts of rows in workgroup memory and in what is written: four numbers.
alias Part = vec4<f32>;

fn put_values(quarter: u32, value: vec4<f32>) {
    values[quarter] = value;
}
