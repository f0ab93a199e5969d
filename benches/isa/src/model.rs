//! What instructions cost one wave on one SIMD of RDNA, and how long the wave waits for memory.
//!
//! A lower bound by issue and memory units, without cache misses and bank conflicts. Sources: AMD's instruction set documents of
//! RDNA 2, 3 and 4, "RDNA 3 WMMA" on GPUOpen, and `aco_statistics.cpp` and `aco_ir.cpp` of Mesa, which name the same costs:
//!
//! - A vector instruction takes a cycle for 32 lanes. A 32-bit integer product takes four; a transcendental function takes one of the
//!   issue and four of its own unit, beside which other instructions go on.
//! - From RDNA3 a SIMD has twice the lanes for some instructions (`DUAL`): a wave of 64 then takes one cycle, as two instructions
//!   paired in a wave of 32 (`v_dual_a :: v_dual_b`) do.
//! - A matrix product of 16 x 16 x 16 of f16 takes 32 cycles on RDNA3 and 16 on RDNA4, for waves of 32 and of 64.
//! - A scalar instruction takes a cycle of the scalar unit.
//! - LDS moves 128 bytes a cycle for the two SIMDs of a compute unit, 64 for each; so does the first cache of global memory, which
//!   spilled registers go through too.

use std::collections::{BTreeMap, VecDeque};

use anyhow::{Result, bail};

use crate::flow::Op;

/// Generation of a chip.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Chip {
    Rdna2,
    Rdna3,
    Rdna4,
}

impl Chip {
    /// By the name that the driver gives its device.
    pub fn of(device: &str) -> Result<Chip> {
        Ok(match device {
            d if d.contains("NAVI2") => Chip::Rdna2,
            d if d.contains("NAVI3") || d.contains("GFX115") => Chip::Rdna3,
            d if d.contains("GFX120") => Chip::Rdna4,
            _ => bail!("{device}: no model of this chip; RADV_FORCE_FAMILY may be navi21, navi31 or gfx1201"),
        })
    }

    /// Waves of `lanes` that a SIMD holds, by the driver's `subgroups` of 32; on RDNA4 by the chips' registers, 768 for 64 lanes, and 64 KiB of
    /// LDS for two SIMDs, as Mesa 25.0 gives the null device too few registers.
    pub fn waves(self, subgroups: u64, registers: u64, lds: u64, invocations: u64, lanes: u64) -> u64 {
        if self != Chip::Rdna4 {
            return subgroups * 32 / lanes;
        }
        let groups = 65536_u64.checked_div(lds).unwrap_or(u64::MAX / invocations);
        let by_lds = (groups * invocations.div_ceil(lanes)).div_ceil(2);
        (768 * 64 / lanes / registers.max(1)).min(by_lds).min(16)
    }
}

/// Instructions that have twice the lanes from RDNA3 (`is_dual_issue_capable` of Mesa).
const DUAL: &str = " v_fma_f32 v_fmac_f32 v_fmaak_f32 v_fmamk_f32 v_mul_f32 v_add_f32 v_sub_f32 v_subrev_f32 v_max_f32 v_min_f32 \
    v_max_num_f32 v_min_num_f32 v_mul_legacy_f32 v_mul_dx9_zero_f32 v_fma_f16 v_fmac_f16 v_fmaak_f16 v_fmamk_f16 v_mul_f16 v_add_f16 \
    v_sub_f16 v_subrev_f16 v_max_f16 v_min_f16 v_max_num_f16 v_min_num_f16 v_mov_b32 v_mov_b16 v_cndmask_b32 v_cndmask_b16 \
    v_dot2_f32_f16 v_dot2_f16_f16 v_dot2acc_f32_f16 v_dot2c_f32_f16 v_dot2_f32_bf16 v_dot2_bf16_bf16 ";
const TRANSCENDENTAL: [&str; 7] = ["v_exp_", "v_log_", "v_rcp_", "v_rsq_", "v_sqrt_", "v_sin_", "v_cos_"];
const QUARTER_RATE: [&str; 4] = ["v_mul_lo_u32", "v_mul_hi_", "v_mad_u64_u32", "v_mad_i64_i32"];
/// Taken in beside other instructions, or no instruction.
const HINTS: [&str; 6] = ["s_nop", "(then", "s_delay_alu", "s_clause", "s_waitcnt_depctr", "s_wait_alu"];

/// Cycles of one SIMD for one wave.
#[derive(Default)]
pub struct Cost {
    /// Of the multiply-adds alone, at the peak.
    pub best: f64,
    pub valu: f64,
    pub scalar: f64,
    pub transcendental: f64,
    pub lds: f64,
    /// Of global and scratch memory, on its way through the first cache.
    pub memory: f64,
    pub instructions: BTreeMap<String, f64>,
}

/// Multiply-adds a lane of an instruction, and how many of them a SIMD does in a cycle.
fn multiply_adds(op: &Op, chip: Chip) -> (f64, f64) {
    let wide = if chip >= Chip::Rdna3 { 2.0 } else { 1.0 };
    if op.name.contains("dot2") {
        return (2.0, 64.0 * wide);
    }
    if op.name.starts_with("v_pk_fma") {
        // Two of f16 an instruction, which is not among those with twice the lanes.
        return (2.0, 64.0);
    }
    if op.name.contains("mix") {
        // The compiler also rounds products by it; zero is added then.
        let product = op.args.get(3).is_some_and(|addend| matches!(*addend, "0" | "-0" | "neg(0)"));
        return (if product { 0.0 } else { 1.0 }, 32.0 * wide);
    }
    (op.parts().filter(|name| name.contains("fma")).count() as f64, 32.0 * wide)
}

/// Whether a wave of 64 takes one cycle.
fn is_dual(op: &Op, chip: Chip) -> bool {
    if chip < Chip::Rdna3 || op.is_dpp {
        return false;
    }
    if op.name.contains("fma_mix") {
        // At most two different vector registers are read.
        let read: Vec<&str> = op.args.iter().skip(1).take(3).copied().collect();
        let vectors = read.iter().filter(|arg| arg.trim_start_matches(['-', '|']).starts_with('v')).count();
        return vectors < 3 || read[0] == read[1] || read[0] == read[2] || read[1] == read[2];
    }
    DUAL.contains(&format!(" {} ", op.name))
}

/// Words a lane that a memory instruction moves.
fn words(name: &str) -> f64 {
    let size = [("b128", 4.0), ("x4", 4.0), ("b96", 3.0), ("x3", 3.0), ("b64", 2.0), ("x2", 2.0)];
    let words = size.iter().find(|(end, _)| name.ends_with(end)).map_or(1.0, |(_, words)| *words);
    let two = ["2addr", "read2", "write2"].iter().any(|part| name.contains(part));
    words * if two { 2.0 } else { 1.0 }
}

fn is_global(name: &str) -> bool {
    ["buffer_", "global_", "image_", "scratch_", "flat_"].iter().any(|start| name.starts_with(start))
}

/// Cycles that the vector unit takes to issue an instruction.
fn issue(op: &Op, lanes: f64, chip: Chip) -> f64 {
    let passes = lanes / 32.0;
    match op.name {
        name if name.starts_with("v_wmma") && chip >= Chip::Rdna4 => 16.0,
        name if name.starts_with("v_wmma") => 32.0,
        name if name.starts_with("v_s_") => 1.0,
        name if QUARTER_RATE.iter().any(|start| name.starts_with(start)) => 4.0 * passes,
        _ if lanes == 64.0 && is_dual(op, chip) => 1.0,
        name if name.starts_with("v_") => passes,
        _ => 0.0,
    }
}

impl Cost {
    /// Adds an instruction that is done `times`.
    pub fn add(&mut self, op: &Op, times: f64, lanes: f64, chip: Chip) {
        if HINTS.contains(&op.name) {
            return;
        }
        let passes = times * lanes / 32.0;
        self.valu += times * issue(op, lanes, chip);
        if op.name.starts_with("v_wmma") {
            self.best += times * issue(op, lanes, chip);
        } else if op.name.starts_with("v_") {
            let (count, rate) = multiply_adds(op, chip);
            self.best += times * count * lanes / rate;
            if TRANSCENDENTAL.iter().any(|start| op.name.starts_with(start)) {
                self.transcendental += 4.0 * passes;
            }
        } else if op.name.starts_with("ds_") {
            self.lds += 2.0 * passes * words(op.name);
        } else if is_global(op.name) {
            self.memory += 2.0 * passes * words(op.name);
        } else if !op.name.starts_with("s_wait") {
            self.scalar += times;
        }
        *self.instructions.entry(op.name.to_owned()).or_default() += times;
    }

    /// Cycles by what is taken most, and its name.
    pub fn bound(&self) -> (f64, &'static str) {
        let all = [
            (self.scalar, "scalar"),
            (self.transcendental, "transcendental"),
            (self.memory, "memory"),
            (self.lds, "LDS"),
            (self.valu, "VALU"),
        ];
        all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
    }

    /// Percent of the peak of multiply-adds.
    pub fn share(&self) -> f64 {
        100.0 * self.best / self.bound().0.max(1.0)
    }
}

/// How long one wave alone takes, waits included: Mesa's estimates of memory, 320 cycles for vector accesses, 200 for scalar ones
/// (30 where they are descriptors or parameters), 20 for LDS.
#[derive(Default)]
pub struct Clock {
    pub cycles: f64,
    loads: VecDeque<f64>,
    stores: VecDeque<f64>,
    lds: VecDeque<f64>,
    scalar: VecDeque<f64>,
}

impl Clock {
    pub fn add(&mut self, op: &Op, lanes: f64, chip: Chip) {
        if op.name.starts_with("s_wait") {
            return self.wait(op);
        }
        let takes = if HINTS.contains(&op.name) { 0.0 } else { issue(op, lanes, chip).max(1.0) };
        self.cycles += takes;
        if is_global(op.name) {
            let is_store = op.name.contains("store");
            let queue = if is_store { &mut self.stores } else { &mut self.loads };
            queue.push_back(self.cycles + 320.0);
        } else if op.name.starts_with("ds_") {
            self.lds.push_back(self.cycles + 20.0);
        } else if op.name.starts_with("s_load") || op.name.starts_with("s_buffer_load") {
            let fixed = op.name.starts_with("s_load") || op.args.last().is_some_and(|at| !at.starts_with('s'));
            self.scalar.push_back(self.cycles + if fixed { 30.0 } else { 200.0 });
        }
    }

    /// `s_waitcnt vmcnt(1) lgkmcnt(0)`, `s_waitcnt_vscnt null, 0x0`; on RDNA4 `s_wait_loadcnt 0x1`, `s_wait_loadcnt_dscnt 0x100`.
    fn wait(&mut self, op: &Op) {
        let written = |counter: &str| {
            let (_, rest) = op.text.split_once(&format!("{counter}("))?;
            rest.split(')').next()?.parse::<usize>().ok()
        };
        let number = op.args.last().and_then(|arg| crate::flow::number(arg)).unwrap_or_default() as usize;
        match op.name {
            "s_waitcnt" => {
                if let Some(left) = written("vmcnt") {
                    until(&mut self.cycles, &mut self.loads, left);
                }
                if let Some(left) = written("lgkmcnt") {
                    until(&mut self.cycles, &mut self.lds, left);
                    until(&mut self.cycles, &mut self.scalar, left);
                }
            }
            "s_waitcnt_vscnt" | "s_wait_storecnt" => until(&mut self.cycles, &mut self.stores, number),
            "s_wait_loadcnt" => until(&mut self.cycles, &mut self.loads, number),
            "s_wait_dscnt" => until(&mut self.cycles, &mut self.lds, number),
            "s_wait_kmcnt" => until(&mut self.cycles, &mut self.scalar, number),
            "s_wait_loadcnt_dscnt" => {
                until(&mut self.cycles, &mut self.loads, number >> 8);
                until(&mut self.cycles, &mut self.lds, number & 255);
            }
            _ => {}
        }
    }
}

/// Waits until at most `left` accesses are under way.
fn until(cycles: &mut f64, queue: &mut VecDeque<f64>, left: usize) {
    while queue.len() > left {
        *cycles = queue.pop_front().unwrap_or_default().max(*cycles);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Flow;

    fn cost(line: &str, lanes: f64, chip: Chip) -> Cost {
        let assembly = format!("BB0:\n\t{line}\n");
        let mut cost = Cost::default();
        Flow::parse(&assembly).blocks[0].ops.iter().for_each(|op| cost.add(op, 1.0, lanes, chip));
        cost
    }

    #[test]
    fn multiply_adds_and_what_they_take() {
        let cases = [
            ("v_fmac_f32_e32 v1, v2, v3", 64.0, Chip::Rdna2, 2.0, 2.0),
            ("v_fmac_f32_e32 v1, v2, v3", 64.0, Chip::Rdna3, 1.0, 1.0),
            ("v_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6", 32.0, Chip::Rdna4, 1.0, 1.0),
            ("v_dual_fmac_f32 v1, v2, v3 :: v_dual_mov_b32 v4, v5", 32.0, Chip::Rdna3, 0.5, 1.0),
            ("v_pk_fma_f16 v1, v2, v3, v4", 64.0, Chip::Rdna2, 2.0, 2.0),
            ("v_dot2_f32_f16 v1, v2, v3, v4", 64.0, Chip::Rdna3, 1.0, 1.0),
            ("v_fma_mix_f32 v1, v2, v3, v4", 64.0, Chip::Rdna3, 1.0, 2.0),
            ("v_fma_mix_f32 v1, v2, v2, v4", 64.0, Chip::Rdna3, 1.0, 1.0),
            ("v_fma_mixlo_f16 v1, v2, s3, 0", 64.0, Chip::Rdna2, 0.0, 2.0),
            ("v_wmma_f32_16x16x16_f16 v[0:3], v[4:5], v[6:7], v[0:3]", 64.0, Chip::Rdna3, 32.0, 32.0),
            ("v_wmma_f32_16x16x16_f16 v[0:3], v[4:5], v[6:7], v[0:3]", 64.0, Chip::Rdna4, 16.0, 16.0),
            ("v_add_f32_dpp v1, v2, v3 quad_perm:[1,0,3,2]", 64.0, Chip::Rdna3, 0.0, 2.0),
            ("v_mul_lo_u32 v1, v2, v3", 64.0, Chip::Rdna3, 0.0, 8.0),
        ];
        for (line, lanes, chip, best, valu) in cases {
            let cost = cost(line, lanes, chip);
            assert_eq!((cost.best, cost.valu), (best, valu), "{line}");
        }
    }

    #[test]
    fn other_units() {
        assert_eq!(cost("ds_load_b128 v[0:3], v4", 64.0, Chip::Rdna3).lds, 16.0);
        assert_eq!(cost("ds_read2_b32 v[0:1], v4 offset1:1", 64.0, Chip::Rdna2).lds, 8.0);
        assert_eq!(cost("buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen", 64.0, Chip::Rdna2).memory, 16.0);
        assert_eq!(cost("v_exp_f32_e32 v0, v1", 64.0, Chip::Rdna3).bound(), (8.0, "transcendental"));
    }

    #[test]
    fn waits() {
        let chain = "BB0:\n\tbuffer_load_b32 v0, v1, s[0:3], 0 offen\n\tbuffer_load_b32 v2, v1, s[0:3], 0 offen\n\
                     \ts_waitcnt vmcnt(1)\n\tv_add_f32_e32 v3, v0, v0\n\ts_waitcnt vmcnt(0)\n";
        let mut clock = Clock::default();
        Flow::parse(chain).blocks[0].ops.iter().for_each(|op| clock.add(op, 64.0, Chip::Rdna3));
        assert_eq!(clock.cycles, 322.0);
        let rdna4 =
            "BB0:\n\tds_load_b32 v0, v1\n\tbuffer_load_b32 v2, v1, s[0:3], null offen\n\ts_wait_loadcnt_dscnt 0x100\n";
        let mut clock = Clock::default();
        Flow::parse(rdna4).blocks[0].ops.iter().for_each(|op| clock.add(op, 64.0, Chip::Rdna4));
        assert_eq!(clock.cycles, 21.0);
    }
}
