//! Values of files, or of another engine, on their way into an engine: a piece at a time.

use crate::gpu::{self, Arena, Engine, ParamSet, Region};
use crate::weights::{TensorSource, Tensors};

/// Writes an arena of a set from the tensors named `{prefix}{name}`.
///
/// # Errors
/// A tensor is missing, of another size or cannot be read; the device was lost.
pub fn load<T: TensorSource, E>(
    engine: &Engine,
    set: ParamSet,
    arena: Arena,
    tensors: &Tensors<T>,
    prefix: &str,
) -> Result<(), E>
where
    E: From<gpu::Error> + From<T::Error>,
{
    fill(engine, set, &engine.regions(set, arena), tensors, prefix)
}

/// Writes regions of a set's parameters from the tensors named `{prefix}{name}`.
///
/// # Errors
/// As of [`load`].
pub fn fill<T: TensorSource, E>(
    engine: &Engine,
    set: ParamSet,
    regions: &[Region],
    tensors: &Tensors<T>,
    prefix: &str,
) -> Result<(), E>
where
    E: From<gpu::Error> + From<T::Error>,
{
    for region in regions {
        let name = format!("{prefix}{}", region.name);
        let tensor = tensors.get(&name).ok_or_else(|| engine.lacking(set, &name))?;
        let (expected, got) = (4 * region.len(), 4 * tensor.elements());
        if expected != got {
            return Err(gpu::Error::Size { tensor: name, expected, got }.into());
        }
        let mut first = 0;
        tensor.read(|values| {
            engine.write_region(region, first, values)?;
            first += values.len();
            Ok::<_, E>(())
        })?;
    }
    Ok(())
}
