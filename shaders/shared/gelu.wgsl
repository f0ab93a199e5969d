// The exact GELU x * Phi(x) and its derivative.

// (1 + erf(x / sqrt 2)) / 2 and exp(-x^2 / 2): erf by Abramowitz and Stegun's 7.1.26, absolute error under 3e-7 in f32.
struct Normal { below: vec4<f32>, bell: vec4<f32> }

fn normal(x: vec4<f32>) -> Normal {
    let a = abs(x) * 0.7071067812;
    let bell = exp(-a * a);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let tail = 0.5 * bell * t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Normal(select(tail, 1.0 - tail, x >= vec4(0.0)), bell);
}

fn gelu(x: vec4<f32>) -> vec4<f32> {
    return x * normal(x).below;
}

fn gelu_derivative(x: vec4<f32>) -> vec4<f32> {
    let at = normal(x);
    return at.below + x * 0.3989422804 * at.bell;
}
