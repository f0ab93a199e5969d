//! Which gradients are whole when: the order in which the backward pass finishes them, in buckets.

use super::node::Phase;
use super::plan::Plan;
use super::tensor::{Arena, Home, Param, Tensor};

/// Words of the gradients of one chunk of a trainable set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gpu) struct Range {
    pub set: usize,
    pub chunk: usize,
    pub first: usize,
    pub words: usize,
}

/// Gradients that are handed on together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gpu) struct Bucket {
    /// The node after which all are whole.
    pub ready: usize,
    /// Where they are, in the order of the arenas.
    pub ranges: Vec<Range>,
}

impl Plan {
    /// The gradients of all parameters that learn, in the order in which they become whole, in buckets of at most `most` words;
    /// a larger one has a bucket of its own. Those that no node of a micro-batch writes stay zero and are left out.
    pub(in crate::gpu) fn buckets(&self, most: usize) -> Vec<Bucket> {
        let mut all: Vec<(usize, Range)> = self.gradients();
        all.sort_unstable();
        let mut buckets: Vec<(Bucket, usize)> = Vec::new();
        for (ready, range) in all {
            match buckets.last_mut() {
                Some((bucket, words)) if *words + range.words <= most => {
                    (bucket.ready, *words) = (ready, *words + range.words);
                    bucket.ranges.push(range);
                }
                _ => buckets.push((Bucket { ready, ranges: vec![range] }, range.words)),
            }
        }
        buckets.into_iter().map(|(bucket, _)| Bucket { ranges: joined(bucket.ranges), ..bucket }).collect()
    }

    /// Words of all gradients that are handed on.
    pub fn gradient_words(&self) -> usize {
        self.gradients().iter().map(|(_, range)| range.words).sum()
    }

    /// Parameters whose gradient several nodes of a micro-batch add to. Such a gradient depends on whether micro-batches are added up
    /// on one GPU or apart, so no recording should have one.
    pub fn gradients_of_several_nodes(&self) -> Vec<&str> {
        let touched = self.touched();
        let several = |param: &&Param| {
            let mut nodes: Vec<usize> =
                touched.iter().filter(|(_, tensor)| self.within(*tensor, param)).map(|(index, _)| *index).collect();
            nodes.dedup();
            nodes.len() > 1
        };
        let params = self.sets.iter().flat_map(|set| &set.params).filter(|param| param.grad.is_some());
        params.filter(several).map(|param| self.info(param.weight).name.as_str()).collect()
    }

    /// Every node of a micro-batch with each tensor of an arena of gradients that it touches.
    fn touched(&self) -> Vec<(usize, Tensor)> {
        let is_gradient = |t: &Tensor| matches!(self.info(self.root(*t)).home, Home::Arena { arena: Arena::Grad, .. });
        let of_node = |index: usize| {
            let node = &self.nodes[index];
            node.outputs.iter().copied().chain(node.bound()).filter(is_gradient).map(move |tensor| (index, tensor))
        };
        self.phase(Phase::Micro).flat_map(of_node).collect()
    }

    /// Whether a tensor lies within the gradient of a parameter.
    fn within(&self, tensor: Tensor, param: &Param) -> bool {
        let homes = param.grad.map(|grad| [grad, tensor].map(|t| self.info(self.root(t)).home));
        let Some([Home::Arena { set, chunk, offset, .. }, Home::Arena { set: of, chunk: part, offset: at, .. }]) =
            homes
        else {
            return false;
        };
        (set, chunk) == (of, part) && (offset..offset + self.info(param.weight).len()).contains(&at)
    }

    /// The last node of a micro-batch that touches each parameter's gradient, and where that is.
    fn gradients(&self) -> Vec<(usize, Range)> {
        let touched = self.touched();
        let mut all = Vec::new();
        for (set, of_set) in self.sets.iter().enumerate() {
            for param in of_set.params.iter().filter(|param| param.grad.is_some()) {
                let last = touched.iter().rev().find(|(_, tensor)| self.within(*tensor, param));
                let words = self.info(param.weight).len();
                let range = Range { set, chunk: param.chunk, first: param.offset, words };
                all.extend(last.map(|(index, _)| (*index, range)));
            }
        }
        all
    }
}

/// The same ranges, those that touch joined; the few words between aligned parameters are zero and joined too.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last)
                if (last.set, last.chunk) == (range.set, range.chunk)
                    && (last.first + last.words).next_multiple_of(super::ALIGN_WORDS) == range.first =>
            {
                last.words = range.first + range.words - last.first;
            }
            _ => joined.push(range),
        }
    }
    joined
}
