//! The main loop of a kernel, its share of peak, and what is outside of it.

use std::fmt::Write as _;

use crate::bars::{Bars, Main};
use crate::flow::Flow;
use crate::model::{Chip, Clock, Cost};

/// A kernel's assembly on a chip.
pub struct Kernel<'a> {
    pub name: &'a str,
    pub flow: Flow<'a>,
    pub chip: Chip,
    pub lanes: f64,
    /// Waves of `lanes` a SIMD.
    pub waves: f64,
    /// Trips of loops by the names of their first blocks, from the command line.
    pub given: &'a [(String, Vec<f64>)],
    pub bars: &'a Bars,
}

impl Kernel<'_> {
    fn name_of(&self, index: usize) -> &str {
        self.flow.blocks[self.flow.loops[index].first].name
    }

    /// How many loops a loop is inside.
    fn depth(&self, index: usize) -> usize {
        self.inside(None, self.flow.loops[index].first).count() - 1
    }

    fn trips(&self, index: usize) -> Option<f64> {
        let given = self.given.iter().find(|(block, _)| block == self.name_of(index)).map(|(_, trips)| trips[0]);
        given.or(self.flow.loops[index].trips).or_else(|| self.bars.inner(self.name, self.depth(index)))
    }

    /// The loops inside a loop (all, for none) that have a block.
    fn inside(&self, outer: Option<usize>, block: usize) -> impl Iterator<Item = usize> {
        let within = move |&i: &usize| outer.is_none_or(|o| i > o && self.flow.loops[o].has(self.flow.loops[i].first));
        (0..self.flow.loops.len()).filter(within).filter(move |&i| self.flow.loops[i].has(block))
    }

    /// How often a block is run in a trip of a loop, or in the kernel.
    fn times(&self, outer: Option<usize>, block: usize) -> f64 {
        self.inside(outer, block).map(|i| self.trips(i).unwrap_or(1.0)).product()
    }

    fn cost(&self, outer: Option<usize>, path: &[usize]) -> Cost {
        let mut cost = Cost::default();
        for &block in path {
            let times = self.times(outer, block);
            self.flow.blocks[block].ops.iter().for_each(|op| cost.add(op, times, self.lanes, self.chip));
        }
        cost
    }

    /// Of two alternatives, that with more multiply-adds; of equal ones, that which does not move far less memory; else the faster.
    fn path(&self, from: usize, to: usize, outer: Option<usize>) -> Vec<usize> {
        self.flow.path(from, to, &|first, second| {
            let (a, b) = (self.cost(outer, first), self.cost(outer, second));
            if (a.best - b.best).abs() > 0.01 * a.best.max(b.best) {
                return a.best > b.best;
            }
            if a.memory < 0.5 * b.memory || b.memory < 0.5 * a.memory {
                return a.memory > b.memory;
            }
            a.bound().0 <= b.bound().0
        })
    }

    fn loop_cost(&self, index: usize) -> Cost {
        let l = &self.flow.loops[index];
        self.cost(Some(index), &self.path(l.first, l.last + 1, Some(index)))
    }

    /// Cycles of one wave alone for a trip of a loop that has been run before.
    fn loop_latency(&self, index: usize) -> f64 {
        let l = &self.flow.loops[index];
        let once = self.path(l.first, l.last + 1, Some(index));
        self.latency(Some(index), &once.repeat(2)) - self.latency(Some(index), &once)
    }

    /// The outermost loop with the most multiply-adds, if there are any; of equal ones the fastest.
    pub fn main(&self) -> Option<Main> {
        let whole = self.path(0, self.flow.blocks.len(), None);
        let outermost = (0..self.flow.loops.len()).filter(|&i| self.depth(i) == 0);
        let taken = outermost.filter(|&i| whole.contains(&self.flow.loops[i].first));
        let all: Vec<(usize, Cost)> = taken.map(|i| (i, self.loop_cost(i))).collect();
        let most = all.iter().map(|(_, cost)| cost.best).fold(0.0, f64::max);
        let candidates = all.into_iter().filter(|(_, cost)| most > 0.0 && cost.best >= 0.99 * most);
        let (index, cost) = candidates.min_by(|a, b| a.1.bound().0.total_cmp(&b.1.bound().0))?;
        let main = &self.flow.loops[index];
        let rest: Vec<usize> = whole.into_iter().filter(|&block| !main.has(block)).collect();
        let outside = self.cost(None, &rest).bound().0.max(self.latency(None, &rest) / self.waves);
        let trips = main.step.or(self.bars.step(self.name)).map(|step| self.bars.length / step);
        let inner = (index + 1..self.flow.loops.len()).filter(|&i| main.has(self.flow.loops[i].first));
        let unknown = inner.filter(|&i| self.trips(i).is_none()).map(|i| self.name_of(i).to_owned()).next();
        let outside_share = trips.map(|trips| 100.0 * outside / (outside + trips * cost.bound().0));
        let with_waits = 100.0 * cost.best / cost.bound().0.max(self.loop_latency(index) / self.waves);
        Some(Main { share: cost.share(), with_waits, bound: cost.bound().1, unknown, outside, outside_share })
    }

    /// Cycles of one wave alone for blocks in their order, with trips of the loops (inside another one) that have them.
    fn latency(&self, outer: Option<usize>, path: &[usize]) -> f64 {
        let mut clock = Clock::default();
        let mut open: Vec<(usize, f64)> = vec![]; // loops and when they began
        for (at, &block) in path.iter().enumerate() {
            open.extend(
                self.inside(outer, block).filter(|&i| self.flow.loops[i].first == block).map(|i| (i, clock.cycles)),
            );
            self.flow.blocks[block].ops.iter().for_each(|op| clock.add(op, self.lanes, self.chip));
            let next = path.get(at + 1).copied().unwrap_or(self.flow.blocks.len());
            while let Some((index, began)) = open.pop_if(|(i, _)| !self.flow.loops[*i].has(next)) {
                clock.cycles += (self.trips(index).unwrap_or(1.0) - 1.0) * (clock.cycles - began);
            }
        }
        clock.cycles
    }

    /// A line for the kernel and for a trip of each loop, loops inside included.
    pub fn report(&self) -> String {
        let mut out = String::new();
        let whole = self.cost(None, &self.path(0, self.flow.blocks.len(), None));
        for (name, cost) in std::iter::once(("kernel".to_owned(), whole)).chain((0..self.flow.loops.len()).map(|i| {
            let trips = self.trips(i).map_or("?".into(), |trips| trips.to_string());
            let step = self.flow.loops[i].step.map_or("?".into(), |step| step.to_string());
            (
                format!("{}{} (trips {trips}, step {step})", "  ".repeat(self.depth(i) + 1), self.name_of(i)),
                self.loop_cost(i),
            )
        })) {
            let Cost { best, valu, scalar, transcendental, lds, memory, .. } = cost;
            let (share, by) = (cost.share(), cost.bound().1);
            let _ = write!(
                out,
                "{name}: VALU {valu}, scalar {scalar}, LDS {lds}, memory {memory}, transcendental {transcendental}, multiply-adds {best}: {share:.0} % of peak by {by};"
            );
            cost.instructions.iter().for_each(|(name, count)| _ = write!(out, " {count} {name}"));
            out.push('\n');
        }
        out
    }
}
