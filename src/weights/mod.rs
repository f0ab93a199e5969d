//! Weights on the host: files in and out, names of others, initial values, position tables.
//!
//! Nothing here knows of a GPU: a model says what it wants as a list of [`Spec`], this module finds or
//! makes it as [`Tensors`].

mod adopt;
mod describe;
mod error;
mod file;
pub mod hf;
mod hub;
mod init;
mod lazy;
mod no_weights;
mod numbers;
mod pickle;
mod pickle_names;
mod pin;
pub mod position;
mod pth;
mod pth_write;
mod safetensors;
mod shards;
pub mod stored;
mod wrap;

use std::collections::BTreeMap;

pub use adopt::{Import, adopt};
pub use describe::{Description, Kind, Stack, describe, published_heads};
pub use error::{Error, Mismatch, Result};
pub use file::{Origin, from_bytes, load, open, open_model};
pub use hub::is_local;
pub use init::{Init, Spec, drawn, init};
pub use lazy::{LazyTensor, Stacked, TensorSource};
pub use pin::{Pinned, pin};
pub use pth_write::save_pth;
pub use safetensors::save;
pub(crate) use safetensors::{check, encoded_size, sync_dir, write_to};
pub use wrap::Copies;

/// A tensor in host memory, row-major, f32 whatever its type in the file was.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values, as many as the product of the shape.
    pub data: Vec<f32>,
}

/// Tensors by name, in the order of their names: in host memory, or wherever else a [`TensorSource`] has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors<T = HostTensor>(BTreeMap<String, T>);

impl<T> Default for Tensors<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Tensors<T> {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.get(name)
    }

    /// Adds a tensor; gives back the one it replaces.
    pub fn insert(&mut self, name: impl Into<String>, tensor: T) -> Option<T> {
        self.0.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.0.remove(name)
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of values in all tensors together.
    pub fn elements(&self) -> usize
    where
        T: TensorSource,
    {
        self.0.values().map(TensorSource::elements).sum()
    }
}

impl<T> Extend<(String, T)> for Tensors<T> {
    fn extend<I: IntoIterator<Item = (String, T)>>(&mut self, iter: I) {
        self.0.extend(iter);
    }
}

impl<T> FromIterator<(String, T)> for Tensors<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl<T> IntoIterator for Tensors<T> {
    type Item = (String, T);
    type IntoIter = std::collections::btree_map::IntoIter<String, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
