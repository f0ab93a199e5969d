//! What AMD's Vulkan compiler makes of WGSL kernels, without a GPU; see README.md.

mod bars;
#[path = "../../../build/compose.rs"]
mod compose;
mod flow;
mod loops;
mod model;
mod spirv;
mod vulkan;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::{env, fs, path::Path};

use anyhow::{Context, Error, Result, bail};

use bars::{Bars, Row};

const USAGE: &str = "isa [--check] [--bars FILE] SHADERS OUT [PART ..] [OVERRIDE=VALUE,.. ..] [BLOCK=TRIPS ..]";

struct Args {
    check: bool,
    bars: Bars,
    folder: String,
    out: String,
    parts: Vec<String>,
    /// Values of overrides, and trips of loops by their first blocks.
    sets: Vec<(String, Vec<f64>)>,
}

fn args() -> Result<Args> {
    let (mut check, mut bars, mut plain) = (false, include_str!("../bars.toml").to_owned(), vec![]);
    let mut all = env::args().skip(1);
    while let Some(arg) = all.next() {
        match arg.as_str() {
            "--check" => check = true,
            "--bars" => {
                let file = all.next().context(USAGE)?;
                bars = fs::read_to_string(&file).context(file)?;
            }
            flag if flag.starts_with('-') => bail!("{flag}: no such flag\n{USAGE}"),
            _ => plain.push(arg),
        }
    }
    let [folder, out, rest @ ..] = &plain[..] else { bail!(USAGE) };
    let bars = Bars::parse(&bars)?;
    let (given, parts): (Vec<_>, Vec<_>) = rest.iter().cloned().partition(|arg| arg.contains('='));
    let mut sets = given.iter().map(values).collect::<Result<Vec<_>>>()?;
    let own = bars.overrides.iter().filter(|(name, _)| !given.iter().any(|g| g.starts_with(&format!("{name}="))));
    sets.extend(own.map(|(name, values)| (name.clone(), values.clone())).collect::<Vec<_>>());
    Ok(Args { check, bars, folder: folder.clone(), out: out.clone(), parts, sets })
}

/// `NAME=VALUE,VALUE`
fn values(text: &String) -> Result<(String, Vec<f64>)> {
    let (name, values) = text.split_once('=').with_context(|| format!("{text}: NAME=VALUE,VALUE expected"))?;
    let values = values.split(',').map(str::parse).collect::<Result<_, _>>();
    Ok((name.to_owned(), values.with_context(|| format!("{text}: numbers expected after `=`"))?))
}

impl Args {
    fn wants(&self, kernel: &str) -> bool {
        match &self.parts[..] {
            [] => !self.bars.leaves_out(kernel),
            parts => parts.iter().all(|part| kernel.contains(part)),
        }
    }

    /// Compiles a kernel and keeps what the driver says of it in a folder; nothing, if the device cannot run it.
    fn row(&self, driver: &vulkan::Driver, kernel: &spirv::Kernel) -> Result<Option<Row>> {
        let Some((lanes, statistics, texts)) = driver.compile(kernel)? else { return Ok(None) };
        let statistics = Statistics(statistics);
        let (vgprs, lds) = (statistics.get("VGPRs")?, statistics.get("LDS size")?);
        let chip = model::Chip::of(&driver.name)?;
        let waves =
            chip.waves(statistics.get("Subgroups per SIMD")?, vgprs, lds, kernel.invocations.into(), lanes.into());
        let flow = flow::Flow::parse(texts.get("Assembly").context("no assembly: is Mesa built with LLVM?")?);
        let (name, lanes, given) = (kernel.name.as_str(), f64::from(lanes), &self.sets[..]);
        let listing = loops::Kernel { name, flow, chip, lanes, waves: waves as f64, given, bars: &self.bars };
        let to = Path::new(&self.out).join(kernel.name.replace(['/', ' '], "-"));
        fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        fs::write(to.join("loops"), listing.report())?;
        fs::write(to.join("spv"), kernel.words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>())?;
        texts.iter().try_for_each(|(kind, text)| fs::write(to.join(kind.replace(' ', "-")), text))?;
        Ok(Some(Row {
            kernel: kernel.name.clone(),
            vgprs,
            spilled_vgprs: statistics.get("Spilled VGPRs")?,
            spilled_sgprs: statistics.get("Spilled SGPRs")?,
            scratch: statistics.get("Scratch size")?,
            lds,
            waves: waves * lanes as u64 / 64,
            latency: statistics.get("Latency")?,
            inverse: statistics.get("Inverse Throughput")?,
            main: listing.main(),
        }))
    }
}

/// Numbers by the driver's names.
struct Statistics(BTreeMap<String, u64>);

impl Statistics {
    fn get(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("the driver states no `{name}`, only {:?}", self.0.keys()))
    }
}

fn main() -> Result<ExitCode> {
    let args = args()?;
    let chip = env::var("RADV_FORCE_FAMILY").context("RADV_FORCE_FAMILY is not set: navi21, navi31 or gfx1201")?;
    let driver = vulkan::Driver::open()?;
    println!("\n{chip}, {}:\n\n{}", driver.name, Row::HEAD);
    let (mut kernels, mut failures) = (vec![], vec![]);
    for shader in compose::shaders(Path::new(&args.folder)).map_err(Error::msg)? {
        let wanted = spirv::kernels(&shader, &args.sets)?.into_iter().filter(|kernel| args.wants(&kernel.name));
        for kernel in wanted {
            let Some(row) = args.row(&driver, &kernel)? else { continue };
            println!("{}", row.print());
            let failed = args.bars.failures(&chip, &row).into_iter();
            failures.extend(failed.map(|why| format!("{chip} {}: {why}", row.kernel)));
            kernels.push(row.kernel);
        }
    }
    if kernels.is_empty() {
        bail!("no kernel in {} has {:?} in its name", args.folder, args.parts);
    }
    if args.parts.is_empty() {
        let unused = args.bars.unused(&chip, &kernels).into_iter();
        failures.extend(unused.map(|bar| format!("{chip}: no kernel matches the bar `{bar}`")));
    }
    if args.check {
        failures.iter().for_each(|failure| eprintln!("{failure}"));
    }
    Ok(if args.check && !failures.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
