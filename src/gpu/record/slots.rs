//! Memory planning: transient tensors with disjoint lifetimes share slots.
//!
//! A slot is a buffer of its own and not a range of one arena: wgpu tracks whole buffers, and a dispatch that reads one
//! range and writes another of the same buffer is refused.

use super::copies::{WIDTH, height};
use super::node::Node;
use super::tensor::{Home, Info, Tensor, root};

/// Which slot each transient tensor or image lives in, and each slot's bytes; buffers and textures are counted apart.
#[derive(Debug, Clone, Default)]
pub(in crate::gpu) struct Slots {
    pub of: Vec<Option<usize>>,
    pub buffers: Vec<usize>,
    pub images: Vec<usize>,
}

impl Slots {
    /// Bytes of all slots.
    pub fn total_bytes(&self) -> usize {
        self.buffers.iter().chain(&self.images).sum()
    }
}

/// Slots of one kind: their bytes, and which are free.
#[derive(Default)]
struct Pool {
    bytes: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// Best fit; a slot that fits badly grows rather than a new one being made.
    fn take(&mut self, need: usize) -> usize {
        let bytes = &self.bytes;
        let fits = self.free.iter().copied().filter(|&s| bytes[s] >= need).min_by_key(|&s| bytes[s]);
        let slot = fits.filter(|&s| bytes[s] <= 2 * need).unwrap_or_else(|| self.grow(need));
        self.free.retain(|&s| s != slot);
        slot
    }

    /// The largest free slot below `need`, grown to it if it is at least half of it, else a new slot.
    fn grow(&mut self, need: usize) -> usize {
        let bytes = &mut self.bytes;
        let small = self.free.iter().copied().filter(|&s| bytes[s] < need && 2 * bytes[s] >= need);
        match small.max_by_key(|&s| bytes[s]) {
            Some(slot) => {
                bytes[slot] = need;
                slot
            }
            None => {
                bytes.push(need);
                bytes.len() - 1
            }
        }
    }
}

/// First and last node that touch each tensor.
fn lifetimes(tensors: &[Info], nodes: &[Node]) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; tensors.len()];
    for (index, node) in nodes.iter().enumerate() {
        for tensor in node.inputs.iter().chain(&node.outputs).copied().chain(node.bound()) {
            let life = lives[root(tensors, tensor).0 as usize].get_or_insert((index, index));
            life.1 = index;
        }
    }
    for (life, info) in lives.iter_mut().zip(tensors) {
        if let (Some(life), true) = (life, info.keep) {
            life.1 = nodes.len();
        }
    }
    lives
}

/// Plans in the order of the nodes.
pub(in crate::gpu) fn plan(tensors: &[Info], nodes: &[Node]) -> Slots {
    let lives = lifetimes(tensors, nodes);
    let mut births: Vec<Vec<Tensor>> = vec![Vec::new(); nodes.len() + 1];
    let mut deaths: Vec<Vec<Tensor>> = vec![Vec::new(); nodes.len() + 1];
    for (index, life) in lives.iter().enumerate() {
        if let (Some((first, last)), Home::Transient | Home::Image) = (life, tensors[index].home) {
            births[*first].push(Tensor(index as u32));
            deaths[*last].push(Tensor(index as u32));
        }
    }
    let mut of = vec![None; tensors.len()];
    let (mut buffers, mut images) = (Pool::default(), Pool::default());
    for (born, dead) in births.iter().zip(&deaths) {
        for &tensor in born {
            let info = &tensors[tensor.0 as usize];
            of[tensor.0 as usize] = Some(match info.home {
                Home::Image => images.take(16 * WIDTH * height(info.bytes())),
                _ => buffers.take(info.bytes()),
            });
        }
        for &tensor in dead {
            let image = tensors[tensor.0 as usize].home == Home::Image;
            if image { &mut images } else { &mut buffers }.free.extend(of[tensor.0 as usize]);
        }
    }
    Slots { of, buffers: buffers.bytes, images: images.bytes }
}
