//! Drawing one clip.

use std::f32::consts::{PI, TAU};
use std::ops::Range;

use rand::{Rng, RngExt};

use super::{Background, Level, SynthConfig};
use crate::data::rng;

/// Names of the shapes, by label.
pub const SHAPES: [&str; 10] = ["ring", "square", "triangle", "plus", "cross", "bar", "ell", "tee", "chevron", "zed"];

/// The labels of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels {
    /// Index into `SHAPES`.
    pub shape: usize,
    /// Eighths of a turn from right, clockwise on the screen.
    pub direction: usize,
    /// 0 to 2: one to three 64ths of the width a frame, twice that where it is easy.
    pub speed: usize,
    /// 0: grows, then turns; 1: turns, then grows. Means nothing where it is easy.
    pub order: usize,
}

/// What a level lets vary.
struct Ranges {
    /// The first shapes of `SHAPES`.
    shapes: usize,
    /// Of the width.
    radius: Range<f32>,
    /// In radians, to both sides.
    tilt: f32,
    /// Share of the radius that is added.
    growth: f32,
    /// In radians.
    turn: f32,
    /// 64ths of the width a frame of the slowest.
    speed: f32,
    /// Of strokes, relative.
    thickness: f32,
    /// Grey level of strokes.
    bright: Range<f32>,
}

impl Level {
    const fn ranges(self) -> Ranges {
        match self {
            Level::Easy => Ranges {
                shapes: 5,
                radius: 0.33..0.38,
                tilt: 0.1,
                growth: 0.0,
                turn: 0.0,
                speed: 2.0,
                thickness: 1.4,
                bright: 185.0..255.0,
            },
            Level::Full => Ranges {
                shapes: SHAPES.len(),
                radius: 0.14..0.2,
                tilt: 0.25,
                growth: 0.5,
                turn: PI / 3.0,
                speed: 1.0,
                thickness: 1.0,
                bright: 130.0..255.0,
            },
        }
    }

    /// How many shapes there are.
    pub const fn shapes(self) -> usize {
        self.ranges().shapes
    }
}

impl Labels {
    /// Uniform and independent.
    pub fn draw(level: Level, rng: &mut impl Rng) -> Self {
        Labels {
            shape: rng.random_range(0..level.shapes()),
            direction: rng.random_range(0..8),
            speed: rng.random_range(0..3),
            order: rng.random_range(0..2),
        }
    }
}

type Point = (f32, f32);

/// Strokes of a shape in [-1, 1] x [-1, 1].
fn strokes(shape: usize) -> Vec<(Point, Point)> {
    let path = |points: &[Point]| points.windows(2).map(|w| (w[0], w[1])).collect::<Vec<_>>();
    match shape {
        0 => {
            let at = |i: usize| ((i as f32 * TAU / 16.0).cos(), (i as f32 * TAU / 16.0).sin());
            path(&(0..=16).map(at).collect::<Vec<_>>())
        }
        1 => path(&[(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8), (-0.8, -0.8)]),
        2 => path(&[(0.0, -1.0), (0.9, 0.7), (-0.9, 0.7), (0.0, -1.0)]),
        3 => vec![((-1.0, 0.0), (1.0, 0.0)), ((0.0, -1.0), (0.0, 1.0))],
        4 => vec![((-0.8, -0.8), (0.8, 0.8)), ((-0.8, 0.8), (0.8, -0.8))],
        5 => vec![((0.0, -1.0), (0.0, 1.0))],
        6 => path(&[(-0.6, -1.0), (-0.6, 0.9), (0.7, 0.9)]),
        7 => vec![((-0.9, -0.9), (0.9, -0.9)), ((0.0, -0.9), (0.0, 1.0))],
        8 => path(&[(-0.9, -0.6), (0.0, 0.7), (0.9, -0.6)]),
        _ => path(&[(-0.8, -0.9), (0.8, -0.9), (-0.8, 0.9), (0.8, 0.9)]),
    }
}

fn distance(p: Point, (a, b): (Point, Point)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let t = (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}

/// Growth and turn (0 to 1) at a moment of the clip (0 to 1).
fn progress(order: usize, moment: f32) -> (f32, f32) {
    let (first, second) = ((2.0 * moment).min(1.0), (2.0 * moment - 1.0).max(0.0));
    if order == 0 { (first, second) } else { (second, first) }
}

/// Grey frames (size x size) of a clip.
pub fn render(labels: &Labels, config: &SynthConfig, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = rng(seed, 0, 0, 3);
    let size = config.size as f32;
    let (x0, y0) = (rng.random_range(0.0..size), rng.random_range(0.0..size));
    let ranges = config.level.ranges();
    let radius = rng.random_range(ranges.radius) * size;
    let tilt = rng.random_range(-ranges.tilt..ranges.tilt);
    let angle = labels.direction as f32 * PI / 4.0;
    let step = ranges.speed * (labels.speed + 1) as f32 * size / 64.0;
    let strokes = strokes(labels.shape);
    // Long outlines are thin and brightness varies, so that the amount of light tells little of the shape.
    let length: f32 = strokes.iter().map(|(a, b)| (b.0 - a.0).hypot(b.1 - a.1)).sum();
    let thickness = (rng.random_range(0.17..0.27) * size / length).clamp(0.022 * size, 0.09 * size) * ranges.thickness;
    let bright = rng.random_range(ranges.bright);
    let behind = background(config, &mut rng);
    let frame = |index: usize| {
        let moment = index as f32 / (config.frames.max(2) - 1) as f32;
        let (growth, turn) = progress(labels.order, moment);
        let radius = radius * (1.0 + ranges.growth * growth);
        let (sin, cos) = (tilt + turn * ranges.turn).sin_cos();
        let (cx, cy) = (x0 + index as f32 * step * angle.cos(), y0 + index as f32 * step * angle.sin());
        let wrap = |d: f32| (d + size / 2.0).rem_euclid(size) - size / 2.0;
        let mut grey = behind.clone();
        for (i, pixel) in grey.iter_mut().enumerate() {
            let (dx, dy) = (wrap((i % config.size) as f32 - cx), wrap((i / config.size) as f32 - cy));
            if dx.hypot(dy) > 1.5 * radius + thickness {
                continue;
            }
            let p = ((dx * cos + dy * sin) / radius, (dy * cos - dx * sin) / radius);
            let nearest = strokes.iter().map(|&s| distance(p, s)).fold(f32::MAX, f32::min) * radius;
            let cover = (thickness / 2.0 - nearest + 0.5).clamp(0.0, 1.0);
            *pixel = (f32::from(*pixel) + (bright - f32::from(*pixel)) * cover) as u8;
        }
        grey
    };
    (0..config.frames).map(frame).collect()
}

fn background(config: &SynthConfig, rng: &mut impl Rng) -> Vec<u8> {
    let size = config.size;
    match config.background {
        Background::Black => vec![0; size * size],
        Background::Grey => vec![116; size * size],
        Background::Smooth => {
            let (a, b, c) = (rng.random_range(1..3), rng.random_range(1..3), rng.random_range(0.0..TAU));
            let wave = |i: usize| {
                let (x, y) = ((i % size) as f32 / size as f32, (i / size) as f32 / size as f32);
                70.0 + 50.0 * (TAU * (a as f32 * x + b as f32 * y) + c).sin()
            };
            (0..size * size).map(|i| wave(i) as u8).collect()
        }
        Background::Texture => {
            let cells = size.div_ceil(4);
            let noise: Vec<u8> = (0..cells * cells).map(|_| rng.random_range(0..140)).collect();
            (0..size * size).map(|i| noise[i / size / 4 * cells + i % size / 4]).collect()
        }
    }
}
