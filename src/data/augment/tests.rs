//! Every operation against PIL's pixels and timm's arguments (`assets/augment/make.py`).

use super::*;
use crate::data::rng;

const NAMES: [&str; 15] = [
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
];

fn op(name: &str, value: f64) -> Op {
    match name {
        "AutoContrast" => Op::AutoContrast,
        "Equalize" => Op::Equalize,
        "Invert" => Op::Invert,
        "Rotate" => Op::Rotate(value),
        "PosterizeIncreasing" => Op::Posterize(value as u32),
        "SolarizeIncreasing" => Op::Solarize(value as u32),
        "SolarizeAdd" => Op::SolarizeAdd(value as u32),
        "ColorIncreasing" => Op::Color(value),
        "ContrastIncreasing" => Op::Contrast(value),
        "BrightnessIncreasing" => Op::Brightness(value),
        "SharpnessIncreasing" => Op::Sharpness(value),
        "ShearX" => Op::ShearX(value),
        "ShearY" => Op::ShearY(value),
        "TranslateXRel" => Op::TranslateX(value),
        "TranslateYRel" => Op::TranslateY(value),
        other => panic!("no operation {other}"),
    }
}

/// The lines of one kind, as fields.
fn cases(kind: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string("assets/augment/ops.txt").unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn pixels_are_those_of_pil() {
    let strip = image::open("assets/augment/ops.png").unwrap().to_rgb8();
    let cases = cases("pixels");
    let (width, height) = (strip.width() as usize, strip.height() as usize / (cases.len() + 1));
    let frames: Vec<&[u8]> = strip.as_raw().chunks_exact(3 * width * height).collect();
    for (case, expected) in cases.iter().zip(&frames[1..]) {
        let op = op(&case[0], case.get(1).map_or(0.0, |v| v.parse().unwrap()));
        let mut got = frames[0].to_vec();
        apply(&[op], &mut got, width, height);
        let off: Vec<u8> = got.iter().zip(*expected).map(|(a, b)| a.abs_diff(*b)).filter(|d| *d > 0).collect();
        let worst = off.iter().max().copied().unwrap_or(0);
        // Single precision in PIL's cubic and its smoothing may round the other way, nothing else may.
        let warped =
            matches!(op, Op::Rotate(_) | Op::ShearX(_) | Op::ShearY(_) | Op::TranslateX(_) | Op::TranslateY(_));
        let allowed = if warped { got.len() / 500 } else { 0 };
        assert!(worst <= 1 && off.len() <= allowed, "{op:?}: {} of {} values differ, by {worst}", off.len(), got.len());
    }
    assert_eq!(cases.len(), 30);
}

#[test]
fn arguments_are_those_of_timm() {
    let cases = cases("level");
    for case in &cases {
        let kind = KINDS[NAMES.iter().position(|name| *name == case[0]).unwrap()];
        let got = kind(case[1].parse::<f64>().unwrap() / LARGEST, if case[2] == "-" { -1.0 } else { 1.0 });
        let expected = op(&case[0], case.get(3).map_or(0.0, |v| v.parse().unwrap()));
        let value = |op: Op| match op {
            Op::AutoContrast | Op::Equalize | Op::Invert => 0.0,
            Op::Posterize(v) | Op::Solarize(v) | Op::SolarizeAdd(v) => f64::from(v),
            Op::Rotate(v) | Op::Color(v) | Op::Contrast(v) | Op::Brightness(v) | Op::Sharpness(v) => v,
            Op::ShearX(v) | Op::ShearY(v) | Op::TranslateX(v) | Op::TranslateY(v) => v,
        };
        let same = std::mem::discriminant(&got) == std::mem::discriminant(&expected);
        assert!(same && (value(got) - value(expected)).abs() < 1e-12, "{case:?}: {got:?}");
    }
    assert_eq!(cases.len(), 15 * 4 * 2);
}

#[test]
fn texts_round_trip_and_others_are_named() {
    let published = "rand-m7-n4-mstd0.5-inc1";
    assert_eq!(published.parse(), Ok(RandAugment::PUBLISHED));
    assert_eq!(RandAugment::PUBLISHED.to_string(), published);
    let own = RandAugment { share: 0.25, ..RandAugment::PUBLISHED };
    for text in ["none", published, &own.to_string()] {
        assert_eq!(text.parse::<RandAugment>().unwrap().to_string(), text);
    }
    for text in ["", "rand", "rand-", "rand-m7-n4", "rand-m7-n4-inc0", "rand-m11-inc1", "rand-m7-x1-inc1", "augmix-m3"]
    {
        let error = text.parse::<RandAugment>().unwrap_err().to_string();
        assert!(error.contains(&format!("got `{text}`")) && error.contains("rand-m7-n4-mstd0.5-inc1"), "{error}");
    }
}

#[test]
fn draws_are_spread_as_they_should_be() {
    let mut rng = rng(7, 0, 0, 0);
    let draws: Vec<Vec<Op>> = (0..3000).map(|_| draw(&RandAugment::PUBLISHED, &mut rng)).collect();
    let all: Vec<Op> = draws.concat();
    // Four layers, half of them applied: 2 a clip, with a standard deviation of 1.
    let mean = all.len() as f64 / draws.len() as f64;
    assert!((mean - 2.0).abs() < 0.06, "{mean}");
    for (name, kind) in NAMES.iter().zip(KINDS) {
        let same = |op: &&Op| std::mem::discriminant(*op) == std::mem::discriminant(&kind(0.5, 1.0));
        let share = all.iter().filter(same).count() as f64 / all.len() as f64;
        assert!((share - 1.0 / 15.0).abs() < 0.012, "{name}: {share}");
    }
    let turns: Vec<f64> = all.iter().filter_map(|op| if let Op::Rotate(d) = op { Some(*d) } else { None }).collect();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let sizes: Vec<f64> = turns.iter().map(|d| d.abs()).collect();
    assert!((mean(&sizes) - 21.0).abs() < 0.3 && mean(&turns).abs() < 3.5, "{} {}", mean(&sizes), mean(&turns));
    let spread = mean(&sizes.iter().map(|s| (s - 21.0).powi(2)).collect::<Vec<_>>()).sqrt();
    assert!((spread - 1.5).abs() < 0.2, "{spread}");
}

#[test]
fn jitter_keeps_its_bounds() {
    let mut rng = rng(8, 0, 0, 0);
    assert!(jitter(0.0, &mut rng).is_empty());
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let ops = jitter(0.4, &mut rng);
        for op in &ops {
            let (Op::Brightness(f) | Op::Contrast(f) | Op::Color(f)) = op else { panic!("{op:?}") };
            assert!((0.6..=1.4).contains(f), "{op:?}");
        }
        first.insert(format!("{:?}", ops[0]).split('(').next().unwrap().to_owned());
        assert_eq!(ops.len(), 3);
    }
    assert_eq!(first.len(), 3, "the order is random");
}

/// Sizes at which there is no inside, no neighbour or no histogram to flatten.
#[test]
fn tiny_frames_are_no_trouble() {
    for (width, height) in [(1, 1), (1, 5), (2, 1), (3, 3)] {
        for kind in KINDS {
            for (level, sign) in [(0.0, 1.0), (1.0, 1.0), (1.0, -1.0)] {
                let mut rgb: Vec<u8> = (0..3 * width * height).map(|i| (i * 37) as u8).collect();
                apply(&[kind(level, sign)], &mut rgb, width, height);
                assert_eq!(rgb.len(), 3 * width * height);
            }
        }
    }
}
