//! Gradients and losses summed over ranks, while the GPU goes on with the backward pass.

use super::error::Error;
use crate::gpu::{Engine, Exchange, StepValues, Tensor};
use crate::ranks::Ranks;

/// Words of a bucket, at most: 25 MiB.
const BUCKET: usize = 25 << 18;

/// What a step's gradients and losses are summed by.
pub(super) struct Summing {
    exchange: Exchange,
    /// Of this rank's groups that are done, the values of each bucket.
    earlier: Vec<Vec<Vec<f32>>>,
}

impl Summing {
    /// Of an engine whose step has these scalars.
    pub fn new(engine: &Engine, scalars: Tensor) -> Result<Summing, Error> {
        Ok(Summing { exchange: engine.exchange(scalars, BUCKET)?, earlier: Vec::new() })
    }

    /// Runs the last micro-batch of a group.
    pub fn run(&mut self, engine: &mut Engine, values: &StepValues) -> Result<(), Error> {
        Ok(engine.run_staged(values, &mut self.exchange)?)
    }

    /// Takes the gradients of a group that others of this rank follow.
    pub fn keep(&mut self, engine: &Engine) -> Result<(), Error> {
        let values = (0..self.exchange.buckets()).map(|bucket| engine.staged(&mut self.exchange, bucket));
        self.earlier.push(values.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Takes those of this rank's last group, sums all groups of all ranks and writes the sum to the GPU, a bucket at a time.
    pub fn sum(&mut self, engine: &Engine, ranks: &Ranks) -> Result<(), Error> {
        for bucket in 0..self.exchange.buckets() {
            let earlier = self.earlier.iter_mut().map(|group| std::mem::take(&mut group[bucket]));
            let mut own: Vec<Vec<f32>> = earlier.collect();
            own.push(engine.staged(&mut self.exchange, bucket)?);
            let sum = ranks.sum(&own)?;
            engine.write_bucket(&self.exchange, bucket, &sum)?;
        }
        self.earlier.clear();
        Ok(())
    }
}
