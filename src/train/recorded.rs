//! A run's step, recorded for the adapter that there is.

use std::sync::Arc;

use super::error::Error;
use super::task::{Job, Reporter, Task};
use super::together;
use crate::gpu::{Caps, Gpu, Recorder, check, tune};
use crate::model::step::Step;

/// Records the step for this adapter, its kernels chosen by timing where that is wanted. Ranks that have the same adapter take
/// what rank 0 chose.
pub(super) fn recorded(
    gpu: &Arc<Gpu>,
    job: &Job<'_>,
    task: &mut dyn Task,
    reporter: &mut dyn Reporter,
) -> Result<(Recorder, Step), Error> {
    let ranks = job.ranks;
    let mut record = |caps: Caps| {
        let mut rec = Recorder::new(caps);
        rec.set_recompute(job.optim.recompute);
        let step = task.record(&mut rec)?;
        Ok::<_, Error>((rec, step))
    };
    let (rec, step) = record(gpu.caps().clone())?;
    if ranks.size() == 1 {
        return chosen(gpu, &rec, reporter)?.map_or(Ok((rec, step)), record);
    }
    let alike = together::alike(ranks, gpu)?;
    if !alike {
        reporter
            .note("the ranks' adapters are not the same: weights may drift apart, which ends the run at a checkpoint");
    }
    let own = if ranks.is_first() || !alike { chosen(gpu, &rec, reporter)? } else { None };
    let own = own.unwrap_or_else(|| gpu.caps().clone());
    record(if alike { together::same_caps(ranks, own)? } else { own })
}

/// What is to be recorded for instead, if kernels were found to be faster or refused.
fn chosen(gpu: &Arc<Gpu>, rec: &Recorder, reporter: &mut dyn Reporter) -> Result<Option<Caps>, Error> {
    if !gpu.autotunes() {
        // On a CPU there is one kernel for each operation, which the tests check.
        return if gpu.caps().software { Ok(None) } else { Ok(check(gpu, rec)?) };
    }
    let mut told = |_: &str, _: &_, done, of| {
        if done == 1 {
            reporter.note(&format!(
                "timing the kernels of {of} operations, once for this adapter; --no-autotune spares it"
            ));
        }
    };
    Ok(tune(gpu, rec, &mut told)?)
}
