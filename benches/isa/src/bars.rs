//! `bars.toml`: how to compile kernels, what cannot be read off their assembly, and what is asked of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bars {
    /// Patterns of kernels that no GPU of AMD's is given.
    pub leave_out: Vec<String>,
    /// Values of overrides; kernels are compiled with all combinations.
    pub overrides: BTreeMap<String, Vec<f64>>,
    /// What the counter of a kernel's main loop runs to, where its share of the kernel is told.
    pub length: f64,
    #[serde(default)]
    pub nest: Vec<Nest>,
    #[serde(default)]
    pub bar: Vec<Bar>,
}

/// What a kernel's assembly does not show of its main loop.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nest {
    pub kernel: String,
    /// Trips of the loops inside, by depth, where their counters are compared to no constant.
    #[serde(default)]
    pub inner: Vec<f64>,
    /// What its counter grows by.
    pub step: Option<f64>,
}

/// What is asked of kernels; what a chip has no number for is not asked of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// Words that their names have all of.
    pub kernel: String,
    /// Least share of peak, in percent, by chip.
    #[serde(default)]
    pub share: BTreeMap<String, f64>,
    /// The same where waits bound it.
    #[serde(default)]
    pub with_waits: BTreeMap<String, f64>,
    /// Most of the time that is spent outside the main loop, in percent, by chip.
    #[serde(default)]
    pub outside: BTreeMap<String, f64>,
    /// Most registers that may be spilled, by chip; where it is stated, scratch memory is allowed too.
    #[serde(default)]
    pub spilled: BTreeMap<String, u64>,
}

fn matches(pattern: &str, kernel: &str) -> bool {
    pattern.split_whitespace().all(|word| kernel.contains(word))
}

impl Bars {
    pub fn parse(text: &str) -> Result<Bars> {
        toml::from_str(text).context("bars")
    }

    pub fn leaves_out(&self, kernel: &str) -> bool {
        self.leave_out.iter().any(|pattern| matches(pattern, kernel))
    }

    fn nests(&self, kernel: &str) -> impl Iterator<Item = &Nest> {
        self.nest.iter().filter(move |nest| matches(&nest.kernel, kernel))
    }

    pub fn inner(&self, kernel: &str, depth: usize) -> Option<f64> {
        self.nests(kernel).find_map(|nest| nest.inner.get(depth.checked_sub(1)?).copied())
    }

    pub fn step(&self, kernel: &str) -> Option<f64> {
        self.nests(kernel).find_map(|nest| nest.step)
    }

    /// Patterns of bars for a chip that none of its kernels has.
    pub fn unused(&self, chip: &str, kernels: &[String]) -> Vec<&str> {
        let asks = |bar: &&Bar| {
            let shares = [&bar.share, &bar.with_waits, &bar.outside];
            shares.iter().any(|bar| bar.contains_key(chip)) || bar.spilled.contains_key(chip)
        };
        let bars = self.bar.iter().filter(asks).map(|bar| bar.kernel.as_str());
        bars.filter(|bar| !kernels.iter().any(|kernel| matches(bar, kernel))).collect()
    }

    /// What a chip's kernel fails: of each kind of bar the first whose pattern matches counts.
    pub fn failures(&self, chip: &str, row: &Row) -> Vec<String> {
        let bars = || self.bar.iter().filter(|bar| matches(&bar.kernel, &row.kernel));
        let spilled = row.spilled_vgprs + row.spilled_sgprs;
        let allowed = bars().find_map(|bar| bar.spilled.get(chip).copied());
        let mut out = vec![];
        if spilled > allowed.unwrap_or_default() {
            out.push(format!("{spilled} registers spilled, at most {} allowed", allowed.unwrap_or_default()));
        } else if allowed.is_none() && row.scratch > 0 {
            out.push(format!("{} bytes of scratch memory, none allowed", row.scratch));
        }
        let share = bars().find_map(|bar| bar.share.get(chip).copied());
        let with_waits = bars().find_map(|bar| bar.with_waits.get(chip).copied());
        let outside = bars().find_map(|bar| bar.outside.get(chip).copied());
        let Some(main) = &row.main else {
            if share.or(with_waits).is_some() {
                out.push("a bar for its main loop, but no loop multiplies and adds".into());
            }
            return out;
        };
        if let Some(block) = main.unknown.as_ref().filter(|_| share.or(with_waits).or(outside).is_some()) {
            out.push(format!("trips of {block} are unknown: give `inner` of a [[nest]] in bars.toml"));
        }
        if let Some(least) = share.filter(|least| main.share < *least) {
            out.push(format!("{:.1} % of peak, at least {least} asked", main.share));
        }
        if let Some(least) = with_waits.filter(|least| main.with_waits < *least) {
            out.push(format!("{:.1} % of peak with waits, at least {least} asked", main.with_waits));
        }
        match (outside, main.outside_share) {
            (Some(_), None) => out.push("unknown step of the main loop: give `step` of a [[nest]] in bars.toml".into()),
            (Some(most), Some(has)) if has > most => {
                out.push(format!("{has:.1} % of the time outside the main loop, at most {most} asked"));
            }
            _ => {}
        }
        out
    }
}

/// What is known of a kernel.
pub struct Row {
    pub kernel: String,
    pub vgprs: u64,
    pub spilled_vgprs: u64,
    pub spilled_sgprs: u64,
    pub scratch: u64,
    pub lds: u64,
    pub waves: u64,
    pub latency: u64,
    pub inverse: u64,
    pub main: Option<Main>,
}

/// The loop nest with the most multiply-adds, and the rest of the kernel.
pub struct Main {
    /// Percent of peak, and what bounds it.
    pub share: f64,
    pub bound: &'static str,
    /// The share where waits bound it.
    pub with_waits: f64,
    /// The first block of a loop inside whose trips are unknown and counted once.
    pub unknown: Option<String>,
    /// Cycles outside the loop.
    pub outside: f64,
    /// Percent of the time that they are, where the loop's step is known.
    pub outside_share: Option<f64>,
}

impl Row {
    pub const HEAD: &str = "|kernel|VGPRs|spilled|SGPRs spilled|scratch|LDS|waves|latency|inverse throughput|% of peak|with waits|bound by|\
                            cycles outside|% outside|\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

    pub fn print(&self) -> String {
        let (share, waits, bound, cycles, outside) = self.main.as_ref().map_or(Default::default(), |main| {
            let unsure = if main.unknown.is_some() { "?" } else { "" };
            let outside = main.outside_share.map(|share| format!("{share:.1}")).unwrap_or_default();
            (
                format!("{:.0}{unsure}", main.share),
                format!("{:.0}", main.with_waits),
                main.bound,
                format!("{:.0}", main.outside),
                outside,
            )
        });
        let Row { kernel, vgprs, spilled_vgprs, spilled_sgprs, scratch, lds, waves, latency, inverse, .. } = self;
        format!(
            "|{kernel}|{vgprs}|{spilled_vgprs}|{spilled_sgprs}|{scratch}|{lds}|{waves}|{latency}|{inverse}|{share}|{waits}|{bound}|{cycles}|{outside}|"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_by_pattern_and_chip() {
        let text = "leave_out = []\nlength = 384\n[overrides]\n[[nest]]\nkernel = 'b'\nstep = 8\n[[nest]]\nkernel = 'b/'\ninner = [4]\n\
                    [[bar]]\nkernel = 'b/ LAYOUT=1'\nshare = { x = 70 }\n[[bar]]\nkernel = 'b/'\nshare = { x = 50 }\noutside = { x = 3 }\n\
                    spilled = { y = 2 }\n[[bar]]\nkernel = 'c/'\nshare = { x = 1 }\n";
        let bars = Bars::parse(text).unwrap();
        assert_eq!((bars.inner("b/f", 1), bars.inner("b/f", 0), bars.step("b/f")), (Some(4.0), None, Some(8.0)));
        let main = Main {
            share: 60.0,
            bound: "VALU",
            with_waits: 60.0,
            unknown: None,
            outside: 9.0,
            outside_share: Some(2.0),
        };
        let mut row = Row {
            kernel: "b/f LAYOUT=0".into(),
            vgprs: 9,
            spilled_vgprs: 0,
            spilled_sgprs: 0,
            scratch: 0,
            lds: 0,
            waves: 4,
            latency: 1,
            inverse: 1,
            main: Some(main),
        };
        assert!(bars.failures("x", &row).is_empty());
        row.kernel = "b/f LAYOUT=1".into();
        assert_eq!(bars.failures("x", &row), ["60.0 % of peak, at least 70 asked"]);
        (row.spilled_vgprs, row.scratch) = (2, 512);
        assert!(bars.failures("y", &row).is_empty());
        assert_eq!(bars.failures("z", &row), ["2 registers spilled, at most 0 allowed"]);
        assert_eq!(bars.unused("x", &["b/f LAYOUT=1".into()]), ["c/"]);
    }
}
