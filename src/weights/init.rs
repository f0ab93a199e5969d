//! Initial values: each tensor's random stream is a function of (seed, name) alone, so that adding a
//! tensor changes no other.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Distribution;

use super::{HostTensor, LazyTensor, Tensors};

/// A parameter as a model wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Its name in the official `state_dict`s.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: Init,
}

impl Spec {
    /// A parameter of this name, shape and start.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, init: Init) -> Self {
        Self { name: name.into(), shape: shape.into(), init }
    }
}

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Xavier-uniform, +-sqrt(6 / (in + out)), of the matrix (first axis, all others): what every linear
    /// layer has, and MAE's patch embedding.
    Xavier,
    /// All 0: biases.
    Zeros,
    /// All 1: LayerNorm weights.
    Ones,
    /// Normal, redrawn outside +-`std`: the mask tokens of MVD and VideoMAE cut there.
    TruncNormal {
        /// Standard deviation before the cut, and the cut itself.
        std: f32,
    },
    /// Normal, uncut: MAE's class and mask tokens, and the classifier's linears (timm cuts those at +-2,
    /// which is a hundred deviations away).
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in +-`bound`. See [`Init::conv`].
    Uniform {
        /// Largest absolute value.
        bound: f32,
    },
}

impl Init {
    /// PyTorch's default for convolutions, weight and bias alike: uniform in +-1/sqrt(fan_in), `fan_in`
    /// being channels x kernel. MVD's and VideoMAE's patch embeddings keep it (their initialisers touch
    /// linear layers only); of MAE's it is the bias.
    pub fn conv(fan_in: usize) -> Self {
        Self::Uniform { bound: (1.0 / fan_in.max(1) as f64).sqrt() as f32 }
    }
}

/// Makes every tensor of `specs`.
pub fn init(specs: &[Spec], seed: u64) -> Tensors {
    let made = |spec: &Spec| HostTensor { shape: spec.shape.clone(), data: draw(spec, seed) };
    specs.iter().map(|spec| (spec.name.clone(), made(spec))).collect()
}

/// The same tensors, each made when it is read.
pub fn drawn(specs: &[Spec], seed: u64) -> Tensors<LazyTensor> {
    specs.iter().map(|spec| (spec.name.clone(), LazyTensor::drawn(spec, seed))).collect()
}

/// The values of one tensor.
pub(super) fn draw(spec: &Spec, seed: u64) -> Vec<f32> {
    values(spec, &mut stream(seed, &spec.name))
}

fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a: unlike the standard hasher its value is fixed for all time.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(hash);
    rng
}

fn values(spec: &Spec, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let count: usize = spec.shape.iter().product();
    match spec.init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Xavier => {
            let out = spec.shape.first().copied().unwrap_or(1);
            let rest: usize = spec.shape.iter().skip(1).product();
            uniform(count, (6.0 / (out + rest).max(1) as f64).sqrt() as f32, rng)
        }
        Init::Uniform { bound } => uniform(count, bound, rng),
        Init::Normal { std } => normal(count, std, f32::INFINITY, rng),
        Init::TruncNormal { std } => normal(count, std, 1.0, rng),
    }
}

fn uniform(count: usize, bound: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| (2.0 * rng.random::<f32>() - 1.0) * bound).collect()
}

/// Draws in units of the deviation, redrawing what lies beyond `cut`.
fn normal(count: usize, std: f32, cut: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let unit = rand_distr::StandardNormal;
    (0..count)
        .map(|_| {
            loop {
                let x: f32 = Distribution::<f32>::sample(&unit, rng);
                if x.abs() <= cut {
                    return x * std;
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(shape: &[usize], init: Init) -> Vec<f32> {
        let made = super::init(&[Spec::new("x", shape, init)], 7);
        made.get("x").unwrap().data.clone()
    }

    #[test]
    fn a_new_tensor_changes_no_other() {
        let a = Spec::new("a", [33, 7], Init::Xavier);
        let b = Spec::new("b", [33, 7], Init::Xavier);
        let alone = init(std::slice::from_ref(&b), 1);
        let both = init(&[a, b.clone()], 1);
        assert_eq!(alone.get("b"), both.get("b"));
        assert_ne!(both.get("a").unwrap().data, both.get("b").unwrap().data);
        assert_ne!(init(&[b], 2).get("b"), both.get("b"));
    }

    #[test]
    fn convolutions_are_matrices_to_xavier() {
        // out 64, rest 3*2*8*8 = 384: bound sqrt(6/448)
        let bound = (6.0f32 / 448.0).sqrt();
        let x = one(&[64, 3, 2, 8, 8], Init::Xavier);
        let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest <= bound && largest > 0.999 * bound, "{largest} {bound}");
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        assert!(mean.abs() < 0.02 * bound, "{mean}");
    }

    #[test]
    fn normals_have_their_deviation_and_cut() {
        let x = one(&[40_000], Init::Normal { std: 0.02 });
        let deviation = (x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32).sqrt();
        assert!((deviation - 0.02).abs() < 3e-4, "{deviation}");
        let x = one(&[1, 1, 10_000], Init::TruncNormal { std: 0.02 });
        assert!(x.iter().all(|v| v.abs() <= 0.02));
        assert_eq!(Init::conv(4), Init::Uniform { bound: 0.5 });
        assert_eq!(one(&[], Init::Ones), [1.0]);
    }
}
