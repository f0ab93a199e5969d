//! `mvd selftest`

use std::path::PathBuf;

use clap::Args;

use super::{AdapterArgs, Failure, report};
use crate::gpu::Precision;
use crate::selftest::{Report, check_embedded, check_operations, check_reference};

#[derive(Args)]
pub(super) struct SelftestArgs {
    /// Compare with the tensors of this file and the .json beside it, instead of the built-in checks.
    #[arg(long)]
    reference: Option<PathBuf>,
    #[command(flatten)]
    gpu: AdapterArgs,
}

pub(super) fn run(args: &SelftestArgs) -> Result<(), Failure> {
    if args.gpu.precision == Precision::F16 {
        return Err("--precision f16: the self-test compares f32 to its last digits; leave it at f32".into());
    }
    let gpu = args.gpu.open()?;
    println!("on {}", gpu.describe());
    let mut all = Report::default();
    match &args.reference {
        Some(path) => all.0.extend(check_reference(&gpu, path)?.0),
        None => {
            let bar = report::bar(0, "operations");
            all.0.extend(
                check_operations(&gpu, |done, total| {
                    bar.set_length(total as u64);
                    bar.set_position(done as u64);
                })?
                .0,
            );
            bar.finish_and_clear();
            all.0.extend(check_embedded(&gpu)?.0);
        }
    }
    println!("{all}");
    match all.failed() {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} comparisons failed on {}", all.0.len(), gpu.describe()).into()),
    }
}
