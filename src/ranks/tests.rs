//! Ranks as threads, over channels.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

struct Threads {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn local(&self) -> (usize, usize) {
        (self.rank, self.size())
    }

    fn named(&self, rank: usize) -> String {
        format!("rank {rank}")
    }

    fn all_to_all(&self, send: &[&[u8]], recv: &mut [&mut [u8]], _: &Wait) -> Result<(), Error> {
        let others = || (0..self.size()).filter(|&other| other != self.rank);
        others().for_each(|to| self.to[to].send(send[to].to_vec()).unwrap());
        others().for_each(|from| recv[from].copy_from_slice(&self.from[from].recv().unwrap()));
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        panic!("abort {code}")
    }
}

/// What `f` gives on each of `size` ranks.
fn on<T: Send>(size: usize, wire: Wire, f: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let mut links: Vec<Threads> = (0..size).map(|rank| Threads { rank, to: Vec::new(), from: Vec::new() }).collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = channel();
            links[from].to.push(sender);
            links[to].from.push(receiver);
        }
    }
    std::thread::scope(|scope| {
        let start = |link: Threads| {
            let (f, options) = (&f, Options { wire, ..Options::default() });
            scope.spawn(move || f(Ranks::over(Box::new(link), options)))
        };
        let threads: Vec<_> = links.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Values whose sum depends on its order.
fn value(part: usize, i: usize) -> f32 {
    let sign = if (part + i).is_multiple_of(2) { 1.0 } else { -1.0 };
    sign * (1.0 + i as f32 / 7.0) * f32::powi(31.0, (part * 5 + i) as i32 % 6)
}

fn in_order(parts: impl Iterator<Item = usize>, len: usize) -> Vec<u32> {
    let parts: Vec<usize> = parts.collect();
    (0..len).map(|i| parts.iter().fold(0f32, |sum, &part| sum + value(part, i)).to_bits()).collect()
}

#[test]
fn sums_are_those_of_one_process_in_order_to_the_bit() {
    for len in [0, 1, 3, 197] {
        let expected = in_order(0..4, len);
        assert!(len < 197 || expected != in_order((0..4).rev(), len), "the order must matter");
        // Four parts on 1, 2 and 4 ranks.
        for size in [1, 2, 4] {
            let sums = on(size, Wire::F32, |ranks| {
                let each = 4 / size;
                let own = (0..each).map(|i| (0..len).map(|at| value(ranks.rank() * each + i, at)).collect());
                ranks.sum(&own.collect::<Vec<Vec<f32>>>()).unwrap()
            });
            for sum in sums {
                assert_eq!(sum.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), expected, "{size} ranks, {len}");
            }
        }
    }
}

#[test]
fn a_sum_starts_from_zero_as_an_accumulator_does() {
    let sums = on(2, Wire::F32, |ranks| ranks.sum(&[vec![-0.0]]).unwrap());
    assert!(sums.iter().all(|sum| sum[0].to_bits() == 0f32.to_bits()));
}

#[test]
fn rounded_sums_are_the_same_on_all_ranks() {
    for wire in [Wire::F16, Wire::Bf16] {
        let own = |rank: usize| (0..50).map(|i| value(rank, i) * 1e-9).collect::<Vec<f32>>();
        let sums = on(3, wire, |ranks| ranks.sum(&[own(ranks.rank())]).unwrap());
        assert!(sums.iter().all(|sum| sum == &sums[0]));
        let exact = on(3, Wire::F32, |ranks| ranks.sum(&[own(ranks.rank())]).unwrap());
        let largest = exact[0].iter().fold(0f32, |most, v| most.max(v.abs()));
        let error = sums[0].iter().zip(&exact[0]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(error > 0.0 && error < 0.02 * largest, "{wire:?}: {error} of {largest}");
    }
}

#[test]
fn slices_cover_all_once() {
    for (len, size) in [(10, 3), (2, 4), (0, 2), (7, 7)] {
        let all: Vec<usize> = (0..size).flat_map(|rank| slice(len, rank, size)).collect();
        assert_eq!(all, (0..len).collect::<Vec<_>>());
    }
}

#[test]
fn what_differs_is_told_by_rank() {
    let told = on(3, Wire::F32, |ranks| {
        let all = ranks.gather(&vec![7; ranks.rank()]).unwrap();
        assert_eq!(all, [vec![], vec![7], vec![7, 7]]);
        assert_eq!(ranks.broadcast(&[ranks.rank() as u8]).unwrap(), [0]);
        ranks.agree("the number", b"3", "").unwrap();
        ranks.agree("the weights", &[u8::from(ranks.rank() == 1)], "go back").unwrap_err().to_string()
    });
    assert!(told.iter().all(|text| text == "rank 1: the weights are not those of rank 0; go back"), "{told:?}");
}
