//! A learned, separable position table: `y[t S + s] = spatial[s] + temporal[t]`; spatial (S, C), temporal (T, C), y (T S, C).
//!
//! `dspatial[s] += sum_t dy[t S + s]`, `dtemporal[t] += sum_s dy[t S + s]`: column sums of dy, seen as (T, S C) and as T
//! matrices (S, C).

use super::check::Case;
use super::{column_sum, rows};
use crate::gpu::{Recorder, Tensor, grid};

/// `y (T S, C)` of the parameters `spatial (.., S, C)` and `temporal (.., T, C)`.
///
/// # Panics
/// If their channels differ: a mistake in model code.
pub fn forward(rec: &mut Recorder, spatial: Tensor, temporal: Tensor) -> Tensor {
    let (places, times, channels) = (rec.rows(spatial), rec.rows(temporal), rec.width(spatial));
    assert_eq!(rec.width(temporal), channels, "separable: channels of {}", rec.name(temporal));
    let len = times * places * channels;
    let y = rec.transient("positions", &[times * places, channels]);
    rec.node("separable.forward", &[spatial, temporal], &[y], len as f64, move |h| {
        for (i, y) in h.outputs[0].iter_mut().enumerate() {
            let (row, c) = (i / channels, i % channels);
            *y = h.inputs[0][row % places * channels + c] + h.inputs[1][row / places * channels + c];
        }
    });
    let wide = channels.is_multiple_of(4);
    let ([entry, spatial_name, temporal_name, y_name], each) = if wide {
        (["forward_wide", "spatial_wide", "temporal_wide", "y_wide"], 4)
    } else {
        (["forward", "spatial", "temporal", "y"], 1)
    };
    let dispatch = rec.dispatch("separable", entry).bind(spatial_name, spatial).bind(temporal_name, temporal);
    let dispatch = dispatch.bind(y_name, y).u32("places", places).u32("channels", channels / each);
    dispatch.u32("len", len / each).groups(grid((len / each).div_ceil(64)));
    rec.tape(&[spatial, temporal], y, move |rec, dy| {
        if let Some(dspatial) = rec.param_grad(spatial) {
            let (dy, into) =
                (rec.reshape(dy, &[times, places * channels]), rec.reshape(dspatial, &[places * channels]));
            column_sum::accumulate(rec, dy, into, 1, 0..0);
        }
        if let Some(dtemporal) = rec.param_grad(temporal) {
            column_sum::accumulate(rec, dy, dtemporal, times, 0..0);
        }
    });
    y
}

/// Test cases: the table alone, and added to some of the tokens.
pub fn cases() -> Vec<Case> {
    let alone = |times: usize, places: usize, channels: usize| {
        Case::new(format!("separable {times}x{places}x{channels}"), move |rig| {
            let spatial = rig.param("spatial", &[1, places, channels]);
            let temporal = rig.param("temporal", &[1, times, channels]);
            forward(&mut rig.rec, spatial, temporal)
        })
    };
    let added = |channels: usize| {
        Case::new(format!("separable 3x5x{channels}, added to 7 of 15 tokens"), move |rig| {
            let spatial = rig.param("spatial", &[1, 5, channels]);
            let temporal = rig.param("temporal", &[1, 3, channels]);
            let table = forward(&mut rig.rec, spatial, temporal);
            let x = rig.leaf("x", &[2, 7, channels]);
            let tokens: [u32; 14] = [0, 3, 4, 7, 9, 13, 14, 1, 2, 3, 5, 8, 11, 12];
            let index = rig.index("index", &[2, 7], &tokens);
            let place =
                |sample: usize, token: u32| tokens[7 * sample..][..7].iter().position(|t| *t == token).unwrap_or(7);
            let places: Vec<u32> = (0..30).map(|i| place(i / 15, i as u32 % 15) as u32).collect();
            let place = Some(rig.index("place", &[2, 15], &places));
            rows::add_position(&mut rig.rec, x, rows::Positions { table, index, place })
        })
    };
    vec![alone(1, 1, 1), alone(3, 5, 7), alone(4, 9, 33), alone(8, 70, 36), alone(2, 197, 64), added(7), added(36)]
}
