//! The exact GELU `y = x Phi(x)`, Phi the normal distribution; its shader is part of the products' epilogues.

fn cdf(x: f64) -> f64 {
    0.5 * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// `x Phi(x)` in f64.
pub fn reference(x: f64) -> f64 {
    x * cdf(x)
}

/// `Phi(x) + x phi(x)` in f64, phi the normal density.
pub fn derivative(x: f64) -> f64 {
    cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}
