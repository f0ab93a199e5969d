//! Fast checks of frozen features: nearest neighbours and a linear classifier.

use super::ranking;

/// Labelled features.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// One row a video, all of one length.
    pub rows: Vec<Vec<f64>>,
    /// Its label.
    pub labels: Vec<usize>,
}

fn percent(right: usize, all: usize) -> f64 {
    100.0 * right as f64 / all.max(1) as f64
}

fn unit(row: &[f64]) -> Vec<f64> {
    let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
    row.iter().map(|v| v / norm).collect()
}

/// In eight sums side by side: one alone waits for each of its additions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f64>() + rest
}

/// The largest eigenvalue of the rows' second moments, by power iteration.
fn largest_moment(rows: &[Vec<f64>]) -> f64 {
    let width = rows.first().map_or(0, Vec::len);
    let (mut direction, mut size) = (vec![1.0; width], 0.0);
    for _ in 0..12 {
        direction = unit(&direction);
        let mut next = vec![0.0; width];
        for row in rows {
            let along = dot(row, &direction) / rows.len() as f64;
            next.iter_mut().zip(row).for_each(|(next, v)| *next += along * v);
        }
        size = dot(&next, &direction);
        direction = next;
    }
    size
}

/// Both sets shifted and scaled to mean 0 and deviation 1 of the training set, channel by channel.
fn standardised(train: &Features, test: &Features) -> (Features, Features) {
    let width = train.rows.first().map_or(0, Vec::len);
    let count = train.rows.len().max(1) as f64;
    let mean: Vec<f64> = (0..width).map(|c| train.rows.iter().map(|r| r[c]).sum::<f64>() / count).collect();
    let deviation = |c: usize| train.rows.iter().map(|r| (r[c] - mean[c]).powi(2)).sum::<f64>() / count;
    let scale: Vec<f64> = (0..width).map(|c| 1.0 / deviation(c).sqrt().max(1e-6)).collect();
    let of = |set: &Features| Features {
        rows: set.rows.iter().map(|r| (0..width).map(|c| (r[c] - mean[c]) * scale[c]).collect()).collect(),
        labels: set.labels.clone(),
    };
    (of(train), of(test))
}

/// Percent of test rows whose label most of their `k` nearest training rows have, by cosine after standardising, each
/// neighbour weighted by exp(cosine / 0.07).
pub fn nearest_neighbours(train: &Features, test: &Features, k: usize) -> f64 {
    let (train, test) = standardised(train, test);
    let classes = train.labels.iter().max().map_or(0, |l| l + 1);
    let units: Vec<Vec<f64>> = train.rows.iter().map(|r| unit(r)).collect();
    let right = test.rows.iter().zip(&test.labels).filter(|(row, label)| {
        let row = unit(row);
        let likeness: Vec<f64> = units.iter().map(|u| dot(u, &row)).collect();
        let mut votes = vec![0.0; classes];
        for near in ranking(&likeness).into_iter().take(k) {
            votes[train.labels[near]] += (likeness[near] / 0.07).exp();
        }
        ranking(&votes).first() == Some(*label)
    });
    percent(right.count(), test.rows.len())
}

/// Percent of test rows that [`linear_right`] gets right.
pub fn linear(train: &Features, test: &Features) -> f64 {
    let right = linear_right(train, test);
    percent(right.iter().filter(|right| **right).count(), right.len())
}

/// Which test rows softmax regression on standardised features gets right: full-batch gradient descent with momentum, 400
/// steps, L2 penalty 1e-3. Its rate is 0.1, or less where that would not converge.
pub fn linear_right(train: &Features, test: &Features) -> Vec<bool> {
    const STEPS: usize = 400;
    const PENALTY: f64 = 1e-3;
    let (train, test) = standardised(train, test);
    // With momentum 0.9 the descent is stable up to 3.8 over the curvature, which is at most half of this moment.
    let rate = (2.0 / largest_moment(&train.rows).max(1e-12)).min(0.1);
    let classes = train.labels.iter().max().map_or(0, |l| l + 1);
    let width = train.rows.first().map_or(0, Vec::len);
    let mut weight = vec![vec![0.0; width + 1]; classes];
    let mut speed = weight.clone();
    let score = |weight: &[Vec<f64>], row: &[f64]| -> Vec<f64> {
        weight.iter().map(|w| dot(&w[..width], row) + w[width]).collect()
    };
    for _ in 0..STEPS {
        let mut slope: Vec<Vec<f64>> = weight.iter().map(|w| w.iter().map(|v| PENALTY * v).collect()).collect();
        for (row, label) in train.rows.iter().zip(&train.labels) {
            let scores = score(&weight, row);
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = shares.iter().sum();
            for (class, slope) in slope.iter_mut().enumerate() {
                let error = (shares[class] / sum - f64::from(u8::from(class == *label))) / train.rows.len() as f64;
                slope.iter_mut().zip(row).for_each(|(s, v)| *s += error * v);
                slope[width] += error;
            }
        }
        for ((weight, speed), slope) in weight.iter_mut().zip(&mut speed).zip(slope) {
            for ((w, v), s) in weight.iter_mut().zip(speed).zip(slope) {
                *v = 0.9 * *v - rate * s;
                *w += *v;
            }
        }
    }
    let right = |(row, label): &(&Vec<f64>, &usize)| ranking(&score(&weight, row)).first() == Some(*label);
    test.rows.iter().zip(&test.labels).map(|pair| right(&pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around three corners, with a channel of far larger scale that tells nothing.
    fn set(count: usize, shift: usize) -> Features {
        let noise = |i: usize, k: usize| ((i * 37 + k * 101 + shift * 13) % 97) as f64 / 97.0 - 0.5;
        let row = |i: usize| {
            let corner = |c: usize| if i % 3 == c { 2.0 } else { 0.0 };
            vec![corner(0) + noise(i, 0), corner(1) + noise(i, 1), corner(2) + noise(i, 2), 1e4 * noise(i, 3)]
        };
        Features { rows: (0..count).map(row).collect(), labels: (0..count).map(|i| i % 3).collect() }
    }

    #[test]
    fn separable_classes_are_found_and_noise_is_not() {
        let (train, test) = (set(120, 0), set(60, 5));
        assert!(linear(&train, &test) > 95.0 && nearest_neighbours(&train, &test, 5) > 95.0);
        let blind = |s: &Features| Features { rows: s.rows.iter().map(|r| vec![r[3]]).collect(), ..s.clone() };
        assert!(linear(&blind(&train), &blind(&test)) < 60.0);
    }

    #[test]
    fn wide_rows_of_one_cause_still_converge() {
        // 400 channels that are one: a rate of 0.1 would swing.
        let wide = |s: &Features| Features {
            rows: s.rows.iter().map(|r| (0..400).map(|c| r[0] - r[1] + 1e-3 * c as f64 * r[2]).collect()).collect(),
            labels: s.labels.iter().map(|l| usize::from(*l == 0)).collect(),
        };
        assert!(largest_moment(&standardised(&wide(&set(120, 0)), &set(0, 0)).0.rows) > 300.0);
        assert!(linear(&wide(&set(120, 0)), &wide(&set(60, 5))) > 95.0);
    }
}
