//! Blocks, loops and paths of a kernel's assembly.

/// An instruction.
pub struct Op<'a> {
    pub text: &'a str,
    /// Without the suffix of its encoding.
    pub name: &'a str,
    pub args: Vec<&'a str>,
    /// Reads its operands from other lanes.
    pub is_dpp: bool,
}

impl<'a> Op<'a> {
    fn parse(line: &'a str) -> Option<Op<'a>> {
        let text = line.split(';').next()?.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let name =
            ["_e32", "_e64", "_dpp", "_e64"].iter().fold(word, |name, end| name.strip_suffix(end).unwrap_or(name));
        let args = rest.split([',', ' ']).map(str::trim).filter(|arg| !arg.is_empty()).collect();
        (!text.is_empty()).then_some(Op { text, name, args, is_dpp: word.contains("_dpp") })
    }

    /// An instruction that LLVM's disassembler does not know, by its code's first half; the line after it then shows the second half
    /// as if it were another one. Met are loads of s[92:107] and moves of 16 bits.
    fn undecoded(code: &'a str) -> Op<'a> {
        let name = if code.trim().starts_with("f4") { "s_buffer_load_undecoded" } else { "v_undecoded" };
        Op { text: name, name, args: vec![], is_dpp: false }
    }

    /// Whether it writes a register, alone or in a range such as `s[4:7]`.
    fn writes(&self, register: &str) -> bool {
        if ["_cmp", "store", "branch"].iter().any(|part| self.name.contains(part)) {
            return false;
        }
        let Some(to) = self.args.first() else { return false };
        let in_range = || {
            let (kind, range) = to.strip_suffix(']')?.split_once('[')?;
            let (first, last) = range.split_once(':')?;
            let number: u32 = register.strip_prefix(kind)?.parse().ok()?;
            Some((first.parse().ok()?..=last.parse().ok()?).contains(&number))
        };
        *to == register || in_range().unwrap_or(false)
    }

    /// Names of the one or two instructions of a pair.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.text.split("::").filter_map(|part| part.split_whitespace().next())
    }
}

/// The code of an instruction in hexadecimal.
fn words(line: &str) -> &str {
    line.split_once(';').map_or("", |(_, words)| words)
}

/// A decimal or hexadecimal number.
pub fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

pub struct Block<'a> {
    pub name: &'a str,
    pub ops: Vec<Op<'a>>,
}

impl Block<'_> {
    fn branch(&self, starts_with: &str) -> Option<&Op<'_>> {
        self.ops.iter().find(|op| op.name.starts_with(starts_with))
    }
}

/// Blocks `first` to `last`, which a branch leads back from.
pub struct Loop {
    pub first: usize,
    pub last: usize,
    /// Where its counter is compared to a constant.
    pub trips: Option<f64>,
    /// What its counter grows by.
    pub step: Option<f64>,
}

impl Loop {
    pub fn has(&self, block: usize) -> bool {
        (self.first..=self.last).contains(&block)
    }
}

pub struct Flow<'a> {
    pub blocks: Vec<Block<'a>>,
    /// By first block: a loop comes before those inside.
    pub loops: Vec<Loop>,
}

impl<'a> Flow<'a> {
    pub fn parse(assembly: &'a str) -> Flow<'a> {
        let mut blocks: Vec<Block> = vec![];
        let mut lines = assembly.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_suffix(':').filter(|name| name.starts_with("BB")) {
                blocks.push(Block { name, ops: vec![] });
                continue;
            }
            let Some(block) = blocks.last_mut() else { continue };
            if line.contains("(invalid instruction)") {
                block.ops.push(Op::undecoded(words(line)));
                lines.next_if(|next| words(next).trim().len() == 8);
            } else {
                block.ops.extend(Op::parse(line));
            }
        }
        let mut flow = Flow { blocks, loops: vec![] };
        let ends: Vec<(usize, usize)> = (0..flow.blocks.len()).flat_map(|block| flow.backward(block)).collect();
        for (first, last) in ends {
            match flow.loops.iter_mut().find(|l| l.first == first) {
                Some(known) => known.last = known.last.max(last),
                None => flow.loops.push(Loop { first, last, trips: None, step: None }),
            }
        }
        flow.loops.sort_by_key(|l| l.first);
        for index in 0..flow.loops.len() {
            (flow.loops[index].trips, flow.loops[index].step) = flow.counter(index);
        }
        flow
    }

    fn at(&self, name: &str) -> Option<usize> {
        self.blocks.iter().position(|block| block.name == name)
    }

    fn target(&self, op: &Op) -> Option<usize> {
        self.at(op.args.last()?)
    }

    /// The loops that end in a block, as first and last blocks.
    fn backward(&self, block: usize) -> Vec<(usize, usize)> {
        let branches = self.blocks[block].ops.iter().filter(|op| op.name.contains("branch"));
        branches.filter_map(|op| self.target(op)).filter(|&to| to <= block).map(|to| (to, block)).collect()
    }

    /// Trips and step of a loop by the comparison of a register that the loop adds a constant to.
    fn counter(&self, index: usize) -> (Option<f64>, Option<f64>) {
        let this = &self.loops[index];
        let inner = |block| self.loops[index + 1..].iter().any(|l| this.has(l.first) && l.has(block));
        let own: Vec<&Op> = (this.first..=this.last).filter(|&b| !inner(b)).flat_map(|b| &self.blocks[b].ops).collect();
        let (mut trips, mut step) = (None, None);
        for op in (this.first..=this.last).filter(|&b| !inner(b)).filter_map(|b| self.exit(this, b)) {
            let [.., left, right] = op.args[..] else { continue };
            let swapped = number(left).is_some();
            let (register, bound) = if swapped { (right, left) } else { (left, right) };
            for (register, bound) in [(register, bound), (bound, register)] {
                let mut writes = own.iter().filter(|op| op.writes(register));
                let (Some(by), None) = (writes.next().and_then(|op| increment(op, register)), writes.next()) else {
                    continue;
                };
                step = step.or(Some(by));
                if let Some(bound) = number(bound).or_else(|| self.least(this.first, bound)) {
                    let past = if swapped { ["_lt_", "_ge_"] } else { ["_le_", "_gt_"] };
                    let bound = bound + i64::from(past.iter().any(|part| op.name.contains(part)));
                    let count = ((bound as f64 - self.initial(this.first, register)) / by).ceil();
                    trips = trips.or((count > 0.0).then_some(count));
                }
            }
        }
        (trips, step)
    }

    /// The comparison by which a block, or of a part of the lanes the block after it, leaves a loop or begins it again.
    fn exit(&self, this: &Loop, block: usize) -> Option<&Op<'a>> {
        let leaves = |block: usize| {
            let branches = self.blocks.get(block).into_iter().flat_map(|block| &block.ops);
            let mut targets = branches.filter(|op| op.name.starts_with("s_cbranch")).filter_map(|op| self.target(op));
            targets.any(|to| to == this.first || !this.has(to))
        };
        let lanes = |op: &Op| op.name.starts_with("v_cmpx");
        let found = self.blocks[block].ops.iter().rfind(|op| op.name.contains("_cmp"))?;
        (leaves(block) || lanes(found) && leaves(block + 1)).then_some(found)
    }

    /// What writes a register last before a block.
    fn before(&self, block: usize, register: &str) -> Option<&Op<'a>> {
        self.blocks[..block].iter().flat_map(|block| &block.ops).rfind(|op| op.writes(register))
    }

    /// The constant that was moved to a register before a block; zero where none was, as in the number of a lane.
    fn initial(&self, block: usize, register: &str) -> f64 {
        let moved = self.before(block, register).filter(|op| op.name.contains("_mov"));
        moved.and_then(|op| number(op.args.get(1)?)).unwrap_or_default() as f64
    }

    /// The constant that a register is at most before a block, as where a tile ends or the data do: whole tiles count.
    fn least(&self, block: usize, register: &str) -> Option<i64> {
        let least = self.before(block, register).filter(|op| op.name.contains("_min_u32"))?;
        least.args[1..].iter().find_map(|arg| number(arg))
    }

    /// The blocks of a path from one block to another, which is not part of it. Conditional parts are passed through. Where there
    /// are two alternatives, `better` says whether the first is to be taken.
    pub fn path(&self, from: usize, to: usize, better: &dyn Fn(&[usize], &[usize]) -> bool) -> Vec<usize> {
        let mut path = vec![];
        let mut at = from;
        while at < to {
            path.push(at);
            let within = |target: Option<usize>, after: usize| target.filter(|t| (after + 1..=to).contains(t));
            let condition = self.blocks[at].branch("s_cbranch");
            let Some(other) = condition.and_then(|op| within(self.target(op), at + 1)) else {
                at += 1;
                continue;
            };
            let first = self.path(at + 1, other, better);
            let skip = self.blocks[other - 1].branch("s_branch").and_then(|op| within(self.target(op), other));
            let inverted = self.inverted(other).and_then(|end| within(Some(end), other + 1));
            path.extend(match (skip, inverted) {
                (Some(end), _) => {
                    at = end;
                    let second = self.path(other, end, better);
                    if better(&first, &second) { first } else { second }
                }
                (None, Some(end)) if condition.is_some_and(|op| op.name.contains("exec")) => {
                    at = end;
                    let second = self.path(other + 1, end, better);
                    let mut taken = if better(&first, &second) { first } else { second };
                    taken.push(other);
                    taken.sort();
                    taken
                }
                _ => {
                    at = other;
                    first
                }
            });
        }
        path
    }

    /// Where the other lanes' part ends, if a block turns to them.
    fn inverted(&self, block: usize) -> Option<usize> {
        let turns = |op: &Op| {
            let exec = op.args.first() == Some(&"exec") && op.args.last() == Some(&"exec");
            exec && ["s_and_not1", "s_andn2", "s_xor"].iter().any(|start| op.name.starts_with(start))
        };
        let block = self.blocks.get(block)?;
        block.ops.iter().any(turns).then(|| block.branch("s_cbranch_exec").and_then(|op| self.target(op)))?
    }
}

/// The constant that an instruction adds to a register.
fn increment(op: &Op, register: &str) -> Option<f64> {
    let [to, rest @ ..] = &op.args[..] else { return None };
    let adds = ["s_add", "v_add_nc_u32", "v_add_u32"].iter().any(|start| op.name.starts_with(start));
    if !adds || *to != register || !(op.name.starts_with("s_addk") || rest.contains(&register)) {
        return None;
    }
    let by = rest.iter().find_map(|arg| number(arg))?;
    (by > 0).then_some(by as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(assembly: &str) -> Vec<(Option<f64>, Option<f64>)> {
        Flow::parse(assembly).loops.iter().map(|l| (l.trips, l.step)).collect()
    }

    #[test]
    fn counters_of_loops() {
        let nest = "BB0:\n\ts_mov_b32 s6, 0\nBB1:\n\ts_cmp_ge_u32 s6, s1 ; be\n\ts_cbranch_scc1 BB9\nBB2:\n\ts_mov_b32 s7, 2\n\
                    BB3:\n\ts_add_u32 s7, s7, 4\n\ts_cmp_gt_u32 s7, 16\n\ts_cbranch_scc0 BB3\n\
                    BB4:\n\ts_add_u32 s6, s6, 16\n\ts_branch BB1\nBB9:\n\ts_endpgm\n";
        assert_eq!(counters(nest), [(None, Some(16.0)), (Some(4.0), Some(4.0))]);
        // Lanes leave one by one; the register counts from the lane's number.
        let lanes = "BB0:\n\tv_mov_b32_e32 v1, v0\nBB1:\n\tv_cmpx_le_u32_e32 0x100, v1\nBB2:\n\ts_and_not1_b64 s[2:3], s[2:3], exec\n\
                     \ts_cbranch_scc0 BB4\nBB3:\n\ts_mov_b64 exec, s[2:3]\n\tv_add_nc_u32_e32 v1, 64, v1\n\ts_branch BB1\nBB4:\n";
        assert_eq!(counters(lanes), [(Some(4.0), Some(64.0))]);
        // A tile of 8 or what is left.
        let least = "BB0:\n\ts_min_u32 s7, 8, s7\n\ts_load_b128 s[8:11], s[2:3], null\n\ts_mov_b32 s6, 0\nBB1:\n\
                     \ts_cmp_ge_u32 s6, s7\n\ts_cbranch_scc1 BB3\nBB2:\n\ts_add_u32 s6, s6, 2\n\ts_branch BB1\nBB3:\n";
        assert_eq!(counters(least), [(Some(4.0), Some(2.0))]);
        assert_eq!(counters(&least.replace("s[8:11]", "s[4:7]")), [(None, Some(2.0))]);
        // What is compared inside, and a register that is written twice, are no counters.
        let other = "BB0:\n\ts_cmp_lt_u32 s3, 8\n\ts_cbranch_scc0 BB2\nBB1:\n\ts_nop 0\nBB2:\n\ts_add_u32 s3, s3, 1\n\
                     \ts_add_u32 s4, s5, s3\n\ts_add_u32 s4, s4, 3\n\ts_cmp_ge_u32 s4, 9\n\ts_cbranch_scc0 BB0\n";
        assert_eq!(counters(other), [(None, None)]);
    }

    #[test]
    fn paths_take_one_alternative() {
        let longer = |first: &[usize], second: &[usize]| first.len() > second.len();
        let uniform =
            "BB0:\n\ts_cbranch_scc0 BB2\nBB1:\n\ts_branch BB4\nBB2:\n\ts_nop 0\nBB3:\n\ts_nop 0\nBB4:\n\ts_endpgm\n";
        assert_eq!(Flow::parse(uniform).path(0, 5, &longer), [0, 2, 3, 4]);
        let lanes = "BB0:\n\ts_cbranch_execz BB2\nBB1:\n\ts_nop 0\nBB2:\n\ts_and_not1_b64 exec, s[2:3], exec\n\
                     \ts_cbranch_execz BB5\nBB3:\n\ts_nop 0\nBB4:\n\ts_nop 0\nBB5:\n\ts_endpgm\n";
        assert_eq!(Flow::parse(lanes).path(0, 6, &longer), [0, 2, 3, 4, 5]);
        let one = "BB0:\n\ts_cbranch_execz BB2\nBB1:\n\ts_nop 0\nBB2:\n\ts_endpgm\n";
        assert_eq!(Flow::parse(one).path(0, 3, &longer), [0, 1, 2]);
    }

    #[test]
    fn undecoded_codes_are_one_instruction() {
        let flow = Flow::parse(
            "BB0:\n\t(invalid instruction) ; f4301706\n\ts_mulk_i32 s0, 0xc0 ; b80000c0\n\ts_nop 0 ; bf800000\n",
        );
        let names: Vec<&str> = flow.blocks[0].ops.iter().map(|op| op.name).collect();
        assert_eq!(names, ["s_buffer_load_undecoded", "s_nop"]);
    }
}
