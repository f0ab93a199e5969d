//! What ranks decide together: when to stop and to save, which kernels to take, and that they are still the same.

use std::sync::Arc;

use super::checkpoint::State;
use super::error::Error;
use super::transfer;
use crate::gpu::{Caps, Choices, Engine, Gpu};
use crate::model::step::Step;
use crate::ranks::Ranks;
use crate::weights::TensorSource;

/// The signal by which any rank was told to stop, and whether rank 0 says that it is time to save.
pub(super) fn vote(ranks: &Ranks, stop: Option<i32>, timely: bool) -> Result<(Option<i32>, bool), Error> {
    if ranks.size() == 1 {
        return Ok((stop, timely));
    }
    let own = [stop.unwrap_or(0), i32::from(timely)];
    let all = ranks.gather_now(bytemuck::cast_slice(&own))?;
    let votes: Vec<[i32; 2]> = all.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect();
    let signal = votes.iter().map(|[signal, _]| *signal).find(|signal| *signal != 0);
    Ok((signal, votes.iter().take(1).any(|[_, timely]| *timely != 0)))
}

/// What rank 0 says.
pub(super) fn told(ranks: &Ranks, said: bool) -> Result<bool, Error> {
    Ok(ranks.size() == 1 && said || ranks.broadcast(&[u8::from(said)])? == [1])
}

/// Whether all ranks have the same adapter and driver.
pub(super) fn alike(ranks: &Ranks, gpu: &Gpu) -> Result<bool, Error> {
    let all = ranks.gather(gpu.describe().as_bytes())?;
    Ok(all.iter().all(|adapter| *adapter == all[0]))
}

/// What rank 0 found of its adapter, of which all have one.
pub(super) fn same_caps(ranks: &Ranks, caps: Caps) -> Result<Caps, Error> {
    let text = ranks.broadcast(caps.choices.to_text().as_bytes())?;
    let choices = Choices::of_text(&String::from_utf8_lossy(&text)).map_or_else(|| Arc::clone(&caps.choices), Arc::new);
    Ok(Caps { choices, ..caps })
}

/// That all ranks begin at the same place with the same weights and moments.
pub(super) fn same_start(ranks: &Ranks, engine: &Engine, step: &Step, state: &State) -> Result<(), Error> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let advice = "all must read the same checkpoint, data and weights";
    ranks.agree("the run's state", format!("{state:?}").as_bytes(), advice)?;
    same_weights(ranks, engine, step, advice)?;
    let mut sum = 0;
    for (_, moment) in transfer::moments(engine, step) {
        moment.read::<Error>(|values| add(&mut sum, values))?;
    }
    Ok(ranks.agree("the optimizer's moments", &sum.to_le_bytes(), advice)?)
}

/// That all ranks have the same weights.
pub(super) fn same_weights(ranks: &Ranks, engine: &Engine, step: &Step, advice: &'static str) -> Result<(), Error> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let mut sum = 0;
    for (_, weight) in transfer::weights(engine, step) {
        weight.read::<Error>(|values| add(&mut sum, values))?;
    }
    Ok(ranks.agree("the weights", &sum.to_le_bytes(), advice)?)
}

fn add(sum: &mut u32, values: &[f32]) -> Result<(), Error> {
    *sum = crc32c::crc32c_append(*sum, bytemuck::cast_slice(values));
    Ok(())
}
