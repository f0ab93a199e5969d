//! Moving token rows: assembling sequences from tokens and a learned row, slicing them, adding position tables.
//!
//! All are copies, so gradients are copies too; the learned token's is the sum over its rows (`+=`).

use super::check::Case;
use super::{expect_shape, row_chunks};
use crate::gpu::{HostNode, Recorder, Tensor, grid};

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
    /// Position table (P, C) and, for every row of the result, its row there (B, N).
    pub table: Option<(Tensor, Tensor)>,
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

    /// `to[b, to_start + k] = from[b, from_start + k] (+ table[position])`
    fn twin(&self, from: &[f64], to: &mut [f64], table: Option<(&[f64], &[f64])>) {
        for b in 0..self.samples {
            for k in 0..self.count {
                let source = if self.from_len == 0 { 0 } else { b * self.from_len + self.from_start + k };
                let target = b * self.to_len + self.to_start + k;
                for c in 0..self.channels {
                    let shift = table.map_or(0.0, |(t, p)| t[p[target] as usize * self.channels + c]);
                    to[target * self.channels + c] = from[source * self.channels + c] + shift;
                }
            }
        }
    }
}

fn table_of<'a>(h: &HostNode<'a>, first: usize) -> Option<(&'a [f64], &'a [f64])> {
    Some((h.inputs.get(first).copied()?, h.inputs.get(first + 1).copied()?))
}

/// `y (B, N, C)` from x's rows and the token, positions added.
pub fn assemble(rec: &mut Recorder, parts: Parts) -> Tensor {
    let Parts { x, x_start, token, len, table } = parts;
    let [samples, count, channels] = *rec.shape(x) else { panic!("assemble: x must be (B, V, C)") };
    assert_eq!(rec.len(token), channels, "assemble: size of {}", rec.name(token));
    assert!(
        count < len && x_start + count <= len,
        "assemble: {count} rows at {x_start} leave no row of {len} for the token"
    );
    let y = rec.transient("assembled", &[samples, len, channels]);
    let own = Move { samples, count, channels, from_len: count, from_start: 0, to_len: len, to_start: x_start };
    let head = Move { count: x_start, from_len: 0, to_start: 0, ..own };
    let tail = Move { count: len - x_start - count, from_len: 0, to_start: x_start + count, ..own };
    let fills: Vec<Move> = [head, tail].into_iter().filter(|m| m.count > 0).collect();
    let mut inputs = vec![x, token];
    inputs.extend(table.iter().flat_map(|(t, p)| [*t, *p]));
    let twin_fills = fills.clone();
    rec.node("rows.assemble", &inputs, &[y], 0.0, move |h| {
        let table = table_of(h, 2);
        own.twin(h.inputs[0], &mut h.outputs[0], table);
        for fill in &twin_fills {
            fill.twin(h.inputs[1], &mut h.outputs[0], table);
        }
    });
    own.record(rec, x, y, table);
    for fill in fills {
        fill.record(rec, token, y, table);
    }
    rec.tape(&[x, token], y, move |rec, dy| {
        if rec.needs_grad(x) {
            let dx = copied(rec, dy, x_start, count);
            rec.add_grad(x, dx);
        }
        if let Some(dtoken) = rec.param_grad(token) {
            token_gradient(rec, dy, dtoken, head, tail);
        }
    });
    y
}

/// `dtoken += ` the sum of dy over the rows that `head` and `tail` fill.
fn token_gradient(rec: &mut Recorder, dy: Tensor, dtoken: Tensor, head: Move, tail: Move) {
    let Move { samples, channels, to_len: len, .. } = head;
    let rows = samples * (head.count + tail.count);
    let (chunk, chunks) = row_chunks(rows);
    let partial = rec.transient("token sums", &[chunks, channels]);
    rec.node("rows.token_gradient", &[dy], &[dtoken], (rows * channels) as f64, move |h| {
        for b in 0..samples {
            for k in (0..head.count).chain(tail.to_start..tail.to_start + tail.count) {
                let row = &h.inputs[0][(b * len + k) * channels..][..channels];
                h.outputs[0].iter_mut().zip(row).for_each(|(t, d)| *t += d);
            }
        }
    });
    let columns = channels.div_ceil(64) as u32;
    for (entry, groups) in [("sum_chunks", [columns, chunks as u32, 1]), ("add_chunks", [columns, 1, 1])] {
        let dispatch = rec.dispatch("rows", entry).bind("partial", partial);
        let dispatch = if entry == "sum_chunks" { dispatch.bind("x", dy) } else { dispatch.bind("total", dtoken) };
        dispatch
            .u32("samples", samples)
            .u32("count", head.count)
            .u32("channels", channels)
            .u32("from_len", len)
            .u32("from_start", 0)
            .u32("chunk", chunk)
            .u32("tail_start", tail.to_start)
            .u32("tail_len", tail.count)
            .groups(groups);
    }
}

/// Rows `start..start + count` of each sample, as a node without gradient.
fn copied(rec: &mut Recorder, x: Tensor, start: usize, count: usize) -> Tensor {
    let [samples, len, channels] = *rec.shape(x) else { panic!("slice: x must be (B, N, C)") };
    let y = rec.transient(format!("{}[{start}..]", rec.name(x)), &[samples, count, channels]);
    let m = Move { samples, count, channels, from_len: len, from_start: start, to_len: count, to_start: 0 };
    rec.node("rows.slice", &[x], &[y], 0.0, move |h| m.twin(h.inputs[0], &mut h.outputs[0], None));
    m.record(rec, x, y, None);
    y
}

/// `y (B, count, C)`: rows `start..start + count` of each sample of x (B, N, C).
pub fn slice(rec: &mut Recorder, x: Tensor, start: usize, count: usize) -> Tensor {
    let y = copied(rec, x, start, count);
    rec.tape(&[x], y, move |rec, dy| {
        let shape = rec.shape(x).to_vec();
        let (samples, len, channels) = (shape[0], shape[1], shape[2]);
        let dx = rec.transient(format!("d {}", rec.name(x)), &shape);
        let m = Move { samples, count, channels, from_len: count, from_start: 0, to_len: len, to_start: start };
        rec.node("rows.slice_backward", &[dy], &[dx], 0.0, move |h| {
            h.outputs[0].fill(0.0);
            m.twin(h.inputs[0], &mut h.outputs[0], None);
        });
        m.dispatch(rec, "embed", samples * len, &[("x", dy), ("y", dx)]);
        rec.add_grad(x, dx);
    });
    y
}

/// `y (B, N + M, C)`: the rows of a (B, N, C), then those of b (B, M, C).
pub fn concat(rec: &mut Recorder, a: Tensor, b: Tensor) -> Tensor {
    let [samples, first, channels] = *rec.shape(a) else { panic!("concat: a must be (B, N, C)") };
    let [_, second, _] = *rec.shape(b) else { panic!("concat: b must be (B, M, C)") };
    expect_shape(rec, "concat", b, &[samples, second, channels]);
    let len = first + second;
    let y = rec.transient("concatenated", &[samples, len, channels]);
    let whole = Move { samples, count: first, channels, from_len: first, from_start: 0, to_len: len, to_start: 0 };
    let moves = [whole, Move { count: second, from_len: second, to_start: first, ..whole }];
    rec.node("rows.concat", &[a, b], &[y], 0.0, move |h| {
        moves.iter().zip(&h.inputs).for_each(|(m, x)| m.twin(x, &mut h.outputs[0], None));
    });
    moves.iter().zip([a, b]).for_each(|(m, x)| m.record(rec, x, y, None));
    rec.tape(&[a, b], y, move |rec, dy| {
        for (x, start, count) in [(a, 0, first), (b, first, second)] {
            if rec.needs_grad(x) {
                let dx = copied(rec, dy, start, count);
                rec.add_grad(x, dx);
            }
        }
    });
    y
}

/// `y = x + table[index]`; x (B, N, C), table (P, C), index (B, N).
pub fn add_position(rec: &mut Recorder, x: Tensor, table: Tensor, index: Tensor) -> Tensor {
    let [samples, count, channels] = *rec.shape(x) else { panic!("add_position: x must be (B, N, C)") };
    expect_shape(rec, "add_position", index, &[samples, count]);
    let y = rec.transient(format!("{} + positions", rec.name(x)), &[samples, count, channels]);
    let m = Move { samples, count, channels, from_len: count, from_start: 0, to_len: count, to_start: 0 };
    let flops = (samples * count * channels) as f64;
    rec.node("rows.add_position", &[x, table, index], &[y], flops, move |h| {
        let table = table_of(h, 1);
        m.twin(h.inputs[0], &mut h.outputs[0], table);
    });
    m.record(rec, x, y, Some((table, index)));
    rec.tape(&[x], y, move |rec, dy| rec.add_grad(x, dy));
    y
}

/// Test cases.
pub fn cases() -> Vec<Case> {
    let sequence = |start: usize, count: usize, len: usize, channels: usize, positioned: bool| {
        Case::new(format!("assemble {count} rows at {start} of {len}x{channels}, positions {positioned}"), move |rig| {
            let x = rig.leaf("x", &[2, count, channels]);
            let token = rig.param("token", &[1, 1, channels]);
            let order: Vec<u32> = (0..2 * len as u32).map(|i| i * 5 % (len as u32 + 3)).collect();
            let table = positioned
                .then(|| (rig.input("table", &[len + 3, channels]), rig.index("position", &[2, len], &order)));
            assemble(&mut rig.rec, Parts { x, x_start: start, token, len, table })
        })
    };
    let sliced = Case::new("slice 7 rows of 33x16, twice", |rig| {
        let x = rig.leaf("x", &[3, 33, 16]);
        let (a, b) = (slice(&mut rig.rec, x, 5, 7), slice(&mut rig.rec, x, 26, 7));
        rig.sum(a, b)
    });
    let positioned = Case::new("add_position 2x7x33", |rig| {
        let (x, table) = (rig.leaf("x", &[2, 7, 33]), rig.input("table", &[9, 33]));
        let index = rig.index("index", &[2, 7], &[0, 8, 3, 3, 1, 7, 2, 4, 5, 6, 8, 0, 1, 2]);
        add_position(&mut rig.rec, x, table, index)
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
        sliced,
        positioned,
    ]
}
