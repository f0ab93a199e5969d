// The exact GELU x * Phi(x) and its derivative.

// erf by its Taylor series near 0 and a Chebyshev fit of erfc elsewhere; the absolute error stays under 3e-7.
fn erf(x: vec4<f32>) -> vec4<f32> {
    let a = abs(x);
    let s = x * x;
    let near = x * (1.1283791671 + s * (-0.3761263890 + s * (0.1128379167 + s * (-0.0268661706 + s * (0.0052239776 - s * 0.0008548327)))));
    // erfc(a) = t exp(-a^2 + p(t)), t = 1 / (1 + a / 2): a Chebyshev fit with relative error 1.2e-7.
    let t = 1.0 / (1.0 + 0.5 * a);
    let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    let e = 1.0 - t * exp(-s + p);
    return select(select(-e, e, x >= vec4(0.0)), near, a < vec4(0.5));
}

fn gelu(x: vec4<f32>) -> vec4<f32> {
    return 0.5 * x * (1.0 + erf(x * 0.7071067812));
}

fn gelu_derivative(x: vec4<f32>) -> vec4<f32> {
    return 0.5 * (1.0 + erf(x * 0.7071067812)) + x * 0.3989422804 * exp(-0.5 * x * x);
}
