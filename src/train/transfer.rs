//! Tensors between a run's engine and its files, never all of them in host memory.

use std::path::Path;

use super::checkpoint::{self, Checkpoint};
use super::error::Error;
use crate::gpu::{self, Arena, Engine, Region};
use crate::model::load::{fill, load};
use crate::model::step::Step;
use crate::weights::{self, Import, TensorSource, Tensors};

/// A tensor on the GPU of a run, as it is when it is read.
pub struct Live<'a> {
    engine: &'a Engine,
    region: Region,
    /// Values that are not finite are an error.
    finite: bool,
}

/// An error of whoever takes values, or one that becomes it.
struct Refused<E>(E);

impl<E: From<checkpoint::Error>> From<gpu::Error> for Refused<E> {
    fn from(error: gpu::Error) -> Self {
        Refused(checkpoint::Error::from(error).into())
    }
}

impl TensorSource for Live<'_> {
    type Error = checkpoint::Error;

    fn shape(&self) -> &[usize] {
        &self.region.shape
    }

    fn read<E: From<Self::Error>>(&self, mut take: impl FnMut(&[f32]) -> Result<(), E>) -> Result<(), E> {
        let read = self.engine.read_region(&self.region, |values| {
            if self.finite {
                all_finite(&self.region.name, values).map_err(|error| Refused(error.into()))?;
            }
            take(values).map_err(Refused)
        });
        read.map_err(|Refused(error)| error)
    }
}

fn all_finite(tensor: &str, values: &[f32]) -> Result<(), checkpoint::Error> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(checkpoint::Error::NotFinite { tensor: tensor.to_owned() }),
    }
}

fn live<'a>(engine: &'a Engine, regions: Vec<Region>, prefix: &str, finite: bool) -> Tensors<Live<'a>> {
    let named = |region: Region| (format!("{prefix}{}", region.name), Live { engine, region, finite });
    regions.into_iter().map(named).collect()
}

/// The weights of a run, which must be finite.
pub(super) fn weights<'a>(engine: &'a Engine, step: &Step) -> Tensors<Live<'a>> {
    live(engine, engine.regions(step.params.set, Arena::Weight), "", true)
}

/// Their averages, if they are kept; they must be finite too.
pub(super) fn averages<'a>(engine: &'a Engine, step: &Step) -> Result<Option<Tensors<Live<'a>>>, Error> {
    let regions = step.average.as_ref().map(|average| average.regions(engine)).transpose()?;
    Ok(regions.map(|regions| live(engine, regions, "", true)))
}

/// AdamW's moments.
pub(super) fn moments<'a>(engine: &'a Engine, step: &Step) -> Tensors<Live<'a>> {
    let moment = |(arena, prefix)| live(engine, engine.regions(step.params.set, arena), prefix, false);
    MOMENTS.into_iter().flat_map(moment).collect()
}

/// Before the names of moments.
const MOMENTS: [(Arena, &str); 2] = [(Arena::Moment1, "exp_avg."), (Arena::Moment2, "exp_avg_sq.")];

/// Writes weights that a run starts from, and their averages, if they are kept.
pub(super) fn start<T: TensorSource>(engine: &Engine, step: &Step, tensors: &Tensors<T>) -> Result<(), Error>
where
    Error: From<T::Error>,
{
    load::<_, Error>(engine, step.params.set, Arena::Weight, tensors, "")?;
    write_average(engine, step, tensors)
}

fn write_average<T: TensorSource>(engine: &Engine, step: &Step, tensors: &Tensors<T>) -> Result<(), Error>
where
    Error: From<T::Error>,
{
    let Some(average) = &step.average else { return Ok(()) };
    fill(engine, step.params.set, &average.regions(engine)?, tensors, "")
}

/// Writes all that a checkpoint holds.
pub(super) fn restore(engine: &Engine, step: &Step, from: Checkpoint) -> Result<(), Error> {
    let set = step.params.set;
    let adopt = |tensors, file: &str| {
        weights::adopt(tensors, &step.params.specs, &Import::exact(), &Path::new("the checkpoint").join(file))
    };
    load::<_, Error>(engine, set, Arena::Weight, &adopt(from.weights, "weights.safetensors")?, "")?;
    if step.average.is_some() {
        write_average(engine, step, &adopt(from.ema.unwrap_or_default(), "ema.safetensors")?)?;
    }
    MOMENTS.iter().try_for_each(|(arena, prefix)| load(engine, set, *arena, &from.optimizer, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_named() {
        assert!(all_finite("a", &[1.0, 2.0]).is_ok());
        for value in [f32::NAN, f32::INFINITY] {
            let text = all_finite("b.weight", &[1.0, value]).unwrap_err().to_string();
            assert_eq!(text, "b.weight holds values that are not finite");
        }
    }
}
