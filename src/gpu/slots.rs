//! Memory planning: transient tensors with disjoint lifetimes share slots.
//!
//! A slot is a buffer of its own and not a range of one arena: wgpu tracks whole buffers, and a dispatch that reads one
//! range and writes another of the same buffer is refused.

use super::plan::Plan;
use super::tensor::{Home, Tensor};

/// Which slot each transient tensor lives in, and each slot's bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    pub of: Vec<Option<usize>>,
    pub bytes: Vec<usize>,
}

/// First and last node that touch each tensor.
fn lifetimes(plan: &Plan) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; plan.tensors.len()];
    for (index, node) in plan.nodes.iter().enumerate() {
        for tensor in node.inputs.iter().chain(&node.outputs).copied().chain(node.bound()) {
            let life = lives[plan.root(tensor).0 as usize].get_or_insert((index, index));
            life.1 = index;
        }
    }
    for (life, info) in lives.iter_mut().zip(&plan.tensors) {
        if let (Some(life), true) = (life, info.keep) {
            life.1 = plan.nodes.len();
        }
    }
    lives
}

/// Plans best-fit, in the order of the nodes; a slot that fits badly grows rather than a new one being made.
pub(super) fn plan(plan: &Plan) -> Slots {
    let lives = lifetimes(plan);
    let mut births: Vec<Vec<Tensor>> = vec![Vec::new(); plan.nodes.len() + 1];
    let mut deaths: Vec<Vec<Tensor>> = vec![Vec::new(); plan.nodes.len() + 1];
    for (index, life) in lives.iter().enumerate() {
        if let (Some((first, last)), Home::Transient) = (life, plan.tensors[index].home) {
            births[*first].push(Tensor(index as u32));
            deaths[*last].push(Tensor(index as u32));
        }
    }
    let mut slots = Slots { of: vec![None; plan.tensors.len()], bytes: Vec::new() };
    let mut free: Vec<usize> = Vec::new();
    for (born, dead) in births.iter().zip(&deaths) {
        for &tensor in born {
            let need = plan.tensors[tensor.0 as usize].bytes();
            let fits = free.iter().copied().filter(|&s| slots.bytes[s] >= need).min_by_key(|&s| slots.bytes[s]);
            let slot = match fits.filter(|&s| slots.bytes[s] <= 2 * need) {
                Some(slot) => slot,
                None => grow(&mut slots.bytes, &free, need),
            };
            free.retain(|&s| s != slot);
            slots.of[tensor.0 as usize] = Some(slot);
        }
        free.extend(dead.iter().filter_map(|t| slots.of[t.0 as usize]));
    }
    slots
}

/// The largest free slot below `need`, grown to it if it is at least half of it, else a new slot.
fn grow(bytes: &mut Vec<usize>, free: &[usize], need: usize) -> usize {
    let largest = free.iter().copied().filter(|&s| bytes[s] < need && 2 * bytes[s] >= need).max_by_key(|&s| bytes[s]);
    match largest {
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
