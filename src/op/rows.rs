//! Moving token rows: assembling sequences from tokens and a learned row, slicing them, adding position tables. Batches of
//! sequences may be stacked, one behind the other, for layers that are stacked too.
//!
//! All are copies, so gradients are copies too; the learned token's is the sum over its rows (`+=`), as is that of what is
//! added to it, and a row of a learned table gets the sum over the samples of the rows that it was added to.

use super::check::Case;
use super::column_sum::{self, Rows, Sums};
use super::expect_shape;
use crate::gpu::{Recorder, Tensor, grid};

/// Positions that are added to rows.
#[derive(Debug, Clone, Copy)]
pub struct Positions {
    /// Table (P, C).
    pub table: Tensor,
    /// For every row of the result, its row of the table (B, N).
    pub index: Tensor,
    /// For every row of a table that learns, its row of the result, or any number from N on where it has none (B, P).
    pub place: Option<Tensor>,
}

impl Positions {
    /// The tensors that a forward pass reads.
    fn read(&self) -> [Tensor; 2] {
        [self.table, self.index]
    }

    /// Gives the table its gradient of rows dy (B, N, C), whose first is `base`.
    fn backward(&self, rec: &mut Recorder, dy: Tensor, (samples, len, base): (usize, usize, usize)) {
        if !rec.needs_grad(self.table) {
            return;
        }
        let (rows, channels) = (rec.rows(self.table), rec.width(self.table));
        let place = self.place.unwrap_or_else(|| panic!("rows: {} learns and has no places", rec.name(self.table)));
        expect_shape(rec, "rows", place, &[samples, rows]);
        let dtable = rec.transient(format!("d {}", rec.name(self.table)), &[rows, channels]);
        rec.node("rows.table_gradient", &[dy, place], &[dtable], (samples * rows * channels) as f64, move |h| {
            h.outputs[0].fill(0.0);
            for (i, k) in h.inputs[1].iter().map(|k| *k as usize).enumerate().filter(|(_, k)| *k < len) {
                let from = &h.inputs[0][(base + i / rows * len + k) * channels..][..channels];
                let to = &mut h.outputs[0][i % rows * channels..][..channels];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        });
        let own =
            Move { samples, count: len, channels, from_len: len, from_start: base, to_len: rows, to_start: 0, base: 0 };
        own.dispatch(rec, "table_gradient", rows, &[("x", dy), ("position", place), ("y", dtable)]);
        rec.add_grad(self.table, dtable);
    }
}

/// A sequence to assemble.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// Rows (B, V, C).
    pub x: Tensor,
    /// Where x's first row goes; the token fills the rest.
    pub x_start: usize,
    /// The learned row (C elements): mask token or class token.
    pub token: Tensor,
    /// Rows N of the result.
    pub len: usize,
    /// A second learned row that is added to the token's: the class token's position.
    pub shift: Option<Tensor>,
    /// What is added to every row of the result.
    pub positions: Option<Positions>,
}

/// A copy of `count` rows a sample between (B, from_len, C) and (B, to_len, C).
#[derive(Clone, Copy)]
struct Move {
    samples: usize,
    count: usize,
    channels: usize,
    from_len: usize,
    from_start: usize,
    to_len: usize,
    to_start: usize,
    /// Rows of the result before the first sample's.
    base: usize,
}

impl Move {
    /// Dispatches one invocation a channel of `rows` rows of y, or a group of four where channels come in fours.
    fn dispatch(&self, rec: &mut Recorder, entry: &str, rows: usize, binds: &[(&str, Tensor)]) {
        let wide = self.channels.is_multiple_of(4);
        let channels = if wide { self.channels / 4 } else { self.channels };
        let named = |name: &str| if wide { format!("{name}_wide") } else { name.to_owned() };
        let mut dispatch = rec.dispatch("rows", &named(entry));
        for (name, tensor) in binds {
            let name = if *name == "position" { (*name).to_owned() } else { named(name) };
            dispatch = dispatch.bind(&name, *tensor);
        }
        dispatch
            .u32("samples", self.samples)
            .u32("count", self.count)
            .u32("channels", channels)
            .u32("from_len", self.from_len)
            .u32("from_start", self.from_start)
            .u32("to_len", self.to_len)
            .u32("to_start", self.to_start)
            .u32("base", self.base)
            .groups(grid((rows * channels).div_ceil(64)));
    }

    fn record(&self, rec: &mut Recorder, x: Tensor, y: Tensor, table: Option<(Tensor, Tensor)>) {
        let rows = self.samples * self.count;
        match table {
            None => self.dispatch(rec, "copy", rows, &[("x", x), ("y", y)]),
            Some((table, position)) => {
                let binds = [("x", x), ("y", y), ("table", table), ("position", position)];
                self.dispatch(rec, "copy_positioned", rows, &binds);
            }
        }
    }

    /// `to[base + b, to_start + k] = from[b, from_start + k] (+ table[position])`
    fn twin(&self, from: &[f64], to: &mut [f64], table: Option<(&[f64], &[f64])>) {
        for b in 0..self.samples {
            for k in 0..self.count {
                let source = if self.from_len == 0 { 0 } else { b * self.from_len + self.from_start + k };
                let target = b * self.to_len + self.to_start + k;
                for c in 0..self.channels {
                    let shift = table.map_or(0.0, |(t, p)| t[p[target] as usize * self.channels + c]);
                    to[(self.base + target) * self.channels + c] = from[source * self.channels + c] + shift;
                }
            }
        }
    }
}

/// `y (stack B, N, C)`: for each of the stack, x's rows and the token, positions added.
///
/// # Panics
/// If those of the stack differ in shape, leave no row for the token, or have both a shift and positions: mistakes in model
/// code.
pub fn assemble(rec: &mut Recorder, stack: &[Parts]) -> Tensor {
    let Parts { x, x_start, len, .. } = stack[0];
    let [samples, count, channels] = *rec.shape(x) else { panic!("assemble: x must be (B, V, C)") };
    assert!(
        count < len && x_start + count <= len,
        "assemble: {count} rows at {x_start} leave no row of {len} for the token"
    );
    let mut inputs = vec![];
    let mut moves = vec![];
    for (i, parts) in stack.iter().enumerate() {
        expect_shape(rec, "assemble", parts.x, &[samples, count, channels]);
        assert_eq!((parts.x_start, parts.len), (x_start, len), "assemble: place of {}", rec.name(parts.x));
        assert_eq!(rec.len(parts.token), channels, "assemble: size of {}", rec.name(parts.token));
        let base = i * samples * len;
        let own =
            Move { samples, count, channels, from_len: count, from_start: 0, to_len: len, to_start: x_start, base };
        let head = Move { count: x_start, from_len: 0, to_start: 0, ..own };
        let tail = Move { count: len - x_start - count, from_len: 0, to_start: x_start + count, ..own };
        assert!(parts.shift.is_none() || parts.positions.is_none(), "assemble: a shift beside positions");
        // A shift is a table of one row, of which only the token's rows read.
        let shift = parts.shift.map(|shift| {
            let index = rec.constant_u32("the one row", &[samples, len], &vec![0; samples * len]);
            assert_eq!(rec.len(shift), channels, "assemble: size of {}", rec.name(shift));
            [shift, index]
        });
        // Each with the places of what it reads among the inputs.
        let first = inputs.len();
        inputs.extend([parts.x, parts.token]);
        inputs.extend(parts.positions.map(|p| p.read()).or(shift).into_iter().flatten());
        let (own_table, token_table) = (parts.positions.map(|_| first + 2), shift.map(|_| first + 2));
        let token_table = own_table.or(token_table);
        let all = [(own, first, own_table), (head, first + 1, token_table), (tail, first + 1, token_table)];
        moves.extend(all.into_iter().filter(|(m, ..)| m.count > 0));
    }
    let y = rec.transient("assembled", &[stack.len() * samples, len, channels]);
    let twins = moves.clone();
    rec.node("rows.assemble", &inputs, &[y], 0.0, move |h| {
        for (m, from, table) in &twins {
            let table = table.map(|first| (h.inputs[first], h.inputs[first + 1]));
            m.twin(h.inputs[*from], &mut h.outputs[0], table);
        }
    });
    for (m, from, table) in moves {
        m.record(rec, inputs[from], y, table.map(|first| (inputs[first], inputs[first + 1])));
    }
    let stack = stack.to_vec();
    let learned = stack.iter().flat_map(|parts| {
        let table = parts.positions.map(|positions| positions.table);
        [Some(parts.x), Some(parts.token), parts.shift, table].into_iter().flatten()
    });
    let learned: Vec<Tensor> = learned.collect();
    rec.tape(&learned, y, move |rec, dy| {
        for (i, Parts { x, token, shift, positions, .. }) in stack.iter().enumerate() {
            if rec.needs_grad(*x) {
                let dx = copied(rec, dy, (i, stack.len()), x_start, count);
                rec.add_grad(*x, dx);
            }
            let base = i * samples * len;
            for learned in [Some(*token), *shift].into_iter().flatten() {
                if let Some(into) = rec.param_grad(learned) {
                    let tail = (x_start + count, len - x_start - count);
                    token_gradient(rec, dy, into, Rows { samples, len, base, head: x_start, tail });
                }
            }
            if let Some(positions) = positions {
                positions.backward(rec, dy, (samples, len, base));
            }
        }
    });
    y
}

/// `dtoken += ` the sum of dy over the rows that it fills.
fn token_gradient(rec: &mut Recorder, dy: Tensor, dtoken: Tensor, at: Rows) {
    let Rows { samples, len, base, head, tail: (tail, tail_len) } = at;
    let channels = rec.width(dy);
    rec.node("rows.token_gradient", &[dy], &[dtoken], (at.count() * channels) as f64, move |h| {
        for b in 0..samples {
            for k in (0..head).chain(tail..tail + tail_len) {
                let row = &h.inputs[0][(base + b * len + k) * channels..][..channels];
                h.outputs[0].iter_mut().zip(row).for_each(|(t, d)| *t += d);
            }
        }
    });
    column_sum::record(rec, dy, dtoken, at, &Sums { matrices: 1, skip: 0..0, scale: 1.0, store: false });
}

/// Rows `start..start + count` of each sample of one of the stack (which, of how many), as a node without gradient.
fn copied(rec: &mut Recorder, x: Tensor, (part, stack): (usize, usize), start: usize, count: usize) -> Tensor {
    let [all, len, channels] = *rec.shape(x) else { panic!("slice: x must be (B, N, C)") };
    let samples = all / stack;
    let y = rec.transient(format!("{}[{start}..]", rec.name(x)), &[samples, count, channels]);
    let from_start = part * samples * len + start;
    let m = Move { samples, count, channels, from_len: len, from_start, to_len: count, to_start: 0, base: 0 };
    rec.node("rows.slice", &[x], &[y], 0.0, move |h| m.twin(h.inputs[0], &mut h.outputs[0], None));
    m.record(rec, x, y, None);
    y
}

/// `y (B, count, C)`: rows `start..start + count` of each sample of x (B, N, C).
pub fn slice(rec: &mut Recorder, x: Tensor, start: usize, count: usize) -> Tensor {
    unstack(rec, x, 1, start, count)[0]
}

/// The same of each of a stack: x (stack B, N, C), each y (B, count, C). Either none of them gets a gradient or all do.
pub fn unstack(rec: &mut Recorder, x: Tensor, stack: usize, start: usize, count: usize) -> Vec<Tensor> {
    let ys: Vec<Tensor> = (0..stack).map(|part| copied(rec, x, (part, stack), start, count)).collect();
    if rec.needs_grad(x) {
        ys.iter().for_each(|&y| rec.require_grad(y));
    }
    let (first, others) = (ys[0], ys[1..].to_vec());
    rec.tape(&[x], first, move |rec, dy| {
        let mut dys = vec![dy];
        dys.extend(others.iter().map(|&y| rec.take_grad(y).expect("unstack: all get a gradient")));
        let shape = rec.shape(x).to_vec();
        let (samples, len, channels) = (shape[0] / stack, shape[1], shape[2]);
        let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
        let own =
            Move { samples, count, channels, from_len: count, from_start: 0, to_len: len, to_start: start, base: 0 };
        let moves: Vec<Move> = (0..stack).map(|part| Move { base: part * samples * len, ..own }).collect();
        let twins = moves.clone();
        rec.node("rows.slice_backward", &dys, &[dx], 0.0, move |h| {
            h.outputs[0].fill(0.0);
            twins.iter().zip(&h.inputs).for_each(|(m, dy)| m.twin(dy, &mut h.outputs[0], None));
        });
        for (m, dy) in moves.iter().zip(dys) {
            m.dispatch(rec, "embed", samples * len, &[("x", dy), ("y", dx)]);
        }
        rec.add_grad(x, dx);
    });
    ys
}

/// `y (B, N + M, C)`: the rows of a (B, N, C), then those of b (B, M, C).
pub fn concat(rec: &mut Recorder, a: Tensor, b: Tensor) -> Tensor {
    let [samples, first, channels] = *rec.shape(a) else { panic!("concat: a must be (B, N, C)") };
    let [_, second, _] = *rec.shape(b) else { panic!("concat: b must be (B, M, C)") };
    expect_shape(rec, "concat", b, &[samples, second, channels]);
    let len = first + second;
    let y = rec.transient("concatenated", &[samples, len, channels]);
    let whole =
        Move { samples, count: first, channels, from_len: first, from_start: 0, to_len: len, to_start: 0, base: 0 };
    let moves = [whole, Move { count: second, from_len: second, to_start: first, ..whole }];
    rec.node("rows.concat", &[a, b], &[y], 0.0, move |h| {
        moves.iter().zip(&h.inputs).for_each(|(m, x)| m.twin(x, &mut h.outputs[0], None));
    });
    moves.iter().zip([a, b]).for_each(|(m, x)| m.record(rec, x, y, None));
    rec.tape(&[a, b], y, move |rec, dy| {
        for (x, start, count) in [(a, 0, first), (b, first, second)] {
            if rec.needs_grad(x) {
                let dx = copied(rec, dy, (0, 1), start, count);
                rec.add_grad(x, dx);
            }
        }
    });
    y
}

/// `y = x + table[index]`; x (B, N, C).
pub fn add_position(rec: &mut Recorder, x: Tensor, positions: Positions) -> Tensor {
    let [samples, count, channels] = *rec.shape(x) else { panic!("add_position: x must be (B, N, C)") };
    let Positions { table, index, .. } = positions;
    expect_shape(rec, "add_position", index, &[samples, count]);
    let y = rec.transient(format!("{} + positions", rec.name(x)), &[samples, count, channels]);
    let m = Move { samples, count, channels, from_len: count, from_start: 0, to_len: count, to_start: 0, base: 0 };
    let flops = (samples * count * channels) as f64;
    rec.node("rows.add_position", &[x, table, index], &[y], flops, move |h| {
        m.twin(h.inputs[0], &mut h.outputs[0], Some((h.inputs[1], h.inputs[2])));
    });
    m.record(rec, x, y, Some((table, index)));
    rec.tape(&[x, table], y, move |rec, dy| {
        rec.add_grad(x, dy);
        positions.backward(rec, dy, (samples, count, 0));
    });
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let sequence = |start: usize, count: usize, len: usize, channels: usize, positioned: bool| {
        Case::new(format!("assemble {count} rows at {start} of {len}x{channels}, positions {positioned}"), move |rig| {
            let x = rig.leaf("x", &[2, count, channels]);
            let token = rig.param("token", &[1, 1, channels]);
            let order: Vec<u32> = (0..2 * len as u32).map(|i| i * 5 % (len as u32 + 3)).collect();
            let positions = positioned.then(|| Positions {
                table: rig.input("table", &[len + 3, channels]),
                index: rig.index("position", &[2, len], &order),
                place: None,
            });
            assemble(&mut rig.rec, &[Parts { x, x_start: start, token, shift: None, len, positions }])
        })
    };
    let shifted = |count: usize, channels: usize| {
        Case::new(format!("assemble {count} rows behind a token and its position, {channels} channels"), move |rig| {
            let x = rig.leaf("x", &[3, count, channels]);
            let token = rig.param("token", &[1, 1, channels]);
            let shift = Some(rig.param("shift", &[1, 1, channels]));
            assemble(&mut rig.rec, &[Parts { x, x_start: 1, token, shift, len: count + 1, positions: None }])
        })
    };
    let learned = |count: usize, len: usize, channels: usize| {
        Case::new(format!("assemble {count} rows of {len}x{channels}, a learned table"), move |rig| {
            let x = rig.leaf("x", &[2, count, channels]);
            let token = rig.param("token", &[1, 1, channels]);
            let table = rig.leaf("table", &[len, channels]);
            // Two orders of the table's rows, and where each row is in them.
            let order: Vec<u32> = (0..2 * len).map(|i| ((i % len * 5 + i / len) % len) as u32).collect();
            let at = |i: usize| order[i / len * len..][..len].iter().position(|row| *row as usize == i % len);
            let place: Vec<u32> = (0..2 * len).map(|i| at(i).unwrap_or(len) as u32).collect();
            let index = rig.index("position", &[2, len], &order);
            let positions = Positions { table, index, place: Some(rig.index("place", &[2, len], &place)) };
            assemble(&mut rig.rec, &[Parts { x, x_start: 0, token, shift: None, len, positions: Some(positions) }])
        })
    };
    let sliced = Case::new("slice 7 rows of 33x16, twice", |rig| {
        let x = rig.leaf("x", &[3, 33, 16]);
        let (a, b) = (slice(&mut rig.rec, x, 5, 7), slice(&mut rig.rec, x, 26, 7));
        rig.sum(a, b)
    });
    let stacked = |channels: usize| {
        Case::new(format!("assemble and take apart a stack of two, {channels} channels"), move |rig| {
            let table = rig.input("table", &[9, channels]);
            let position = rig.index("position", &[3, 7], &(0..21).map(|i| i * 5 % 9).collect::<Vec<u32>>());
            let parts = ["a", "b"].map(|name| {
                let token = rig.param(&format!("token {name}"), &[1, 1, channels]);
                Parts {
                    x: rig.leaf(name, &[3, 4, channels]),
                    x_start: 1,
                    token,
                    shift: None,
                    len: 7,
                    positions: Some(Positions { table, index: position, place: None }),
                }
            });
            let y = assemble(&mut rig.rec, &parts);
            let [a, b] = unstack(&mut rig.rec, y, 2, 2, 4)[..] else { unreachable!("a stack of two") };
            rig.sum(a, b)
        })
    };
    let positioned = Case::new("add_position 2x7x33", |rig| {
        let (x, table) = (rig.leaf("x", &[2, 7, 33]), rig.input("table", &[9, 33]));
        let index = rig.index("index", &[2, 7], &[0, 8, 3, 3, 1, 7, 2, 4, 5, 6, 8, 0, 1, 2]);
        add_position(&mut rig.rec, x, Positions { table, index, place: None })
    });
    let joined = Case::new("concat 1 and 16 rows of 7", |rig| {
        let (a, b) = (rig.leaf("a", &[3, 1, 7]), rig.leaf("b", &[3, 16, 7]));
        concat(&mut rig.rec, a, b)
    });
    vec![
        joined,
        sequence(0, 7, 33, 16, true),
        sequence(1, 16, 17, 33, true),
        sequence(2, 1, 197, 7, false),
        shifted(5, 7),
        shifted(16, 36),
        learned(3, 8, 7),
        learned(4, 33, 20),
        sliced,
        stacked(5),
        stacked(8),
        positioned,
    ]
}
