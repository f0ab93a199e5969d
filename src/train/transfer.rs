//! Tensors between a run's engine and its files.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::error::Error;
use crate::gpu::{Arena, Engine, NamedValues, ParamSet};
use crate::model::step::Step;
use crate::weights::{self, HostTensor, Import, Tensors};

/// Writes tensors named `{prefix}{name}` into an arena of a parameter set.
pub(super) fn write(
    engine: &Engine,
    set: ParamSet,
    arena: Arena,
    tensors: &Tensors,
    prefix: &str,
) -> Result<(), Error> {
    let find = |name: &str| tensors.get(&format!("{prefix}{name}")).map(|t| t.data.as_slice());
    Ok(engine.write_params(set, arena, find)?)
}

/// Writes the averages of the weights, if they are kept.
pub(super) fn write_average(engine: &Engine, step: &Step, tensors: &Tensors) -> Result<(), Error> {
    let Some(average) = &step.average else { return Ok(()) };
    Ok(average.write(engine, |name| tensors.get(name).map(|t| t.data.as_slice()))?)
}

/// Writes all that a checkpoint holds.
pub(super) fn restore(engine: &mut Engine, step: &Step, from: Checkpoint) -> Result<(), Error> {
    let set = step.params.set;
    let adopt = |tensors, file: &str| {
        weights::adopt(tensors, &step.params.specs, &Import::exact(), &Path::new("the checkpoint").join(file))
    };
    write(engine, set, Arena::Weight, &adopt(from.weights, "weights.safetensors")?, "")?;
    if step.average.is_some() {
        write_average(engine, step, &adopt(from.ema.unwrap_or_default(), "ema.safetensors")?)?;
    }
    write(engine, set, Arena::Moment1, &from.optimizer, "exp_avg.")?;
    write(engine, set, Arena::Moment2, &from.optimizer, "exp_avg_sq.")
}

/// Tensors under their names with `prefix` before them.
pub(super) fn named(params: Vec<NamedValues>, prefix: &str) -> Tensors {
    params.into_iter().map(|(name, shape, data)| (format!("{prefix}{name}"), HostTensor { shape, data })).collect()
}

/// The first tensor that holds NaN or infinity.
pub(super) fn not_finite(tensors: &Tensors) -> Option<&str> {
    let bad = |tensor: &HostTensor| tensor.data.iter().any(|value| !value.is_finite());
    tensors.iter().find(|(_, tensor)| bad(tensor)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_named() {
        let with = |value: f32| -> Tensors {
            let tensor = |v| HostTensor { shape: vec![2], data: vec![1.0, v] };
            [("a".to_owned(), tensor(0.0)), ("b".to_owned(), tensor(value))].into_iter().collect()
        };
        assert_eq!(not_finite(&with(2.0)), None);
        assert_eq!(
            [f32::NAN, f32::INFINITY].map(|v| not_finite(&with(v)).map(str::to_owned)),
            [Some("b".into()), Some("b".into())]
        );
    }
}
