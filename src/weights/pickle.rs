//! The part of Python's pickle that PyTorch's checkpoints use, read as data: nothing is ever imported, called or built.
//!
//! Values live in flat arenas, so no depth of nesting costs stack. Each opcode adds at most one value, opcodes are counted,
//! and what is copied (names, sizes, pairs) is bounded, so no pickle costs 100 MB or a second.

use std::collections::HashMap;

use super::pickle_names::{ORDERED_DICT, PARAMETER, REBUILD, REBUILD_TYPED, hostile, known, storage_kind};

/// A value; containers are places in the [`Heap`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// None, numbers, and objects whose content is of no use here.
    Opaque,
    Int(i64),
    /// A place in `Heap::texts`.
    Text(usize),
    /// A place in `Heap::lists`.
    List(usize),
    /// A place in `Heap::lists`.
    Tuple(usize),
    /// A place in `Heap::dicts`.
    Dict(usize),
    /// A name that the pickle imports.
    Global(usize),
    /// A place in `Heap::storages`.
    Storage(usize),
    /// A place in `Heap::tensors`.
    Tensor(usize),
}

/// A block of elements, stored beside the pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    /// Name of its file.
    pub key: String,
    /// PyTorch's name of its element type, without `Storage`.
    pub kind: String,
    /// Elements that the pickle says it has.
    pub len: usize,
}

/// A strided view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorView {
    /// Place in `Heap::storages`.
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub stride: Vec<usize>,
    /// PyTorch's name of its element type, where its storage has none.
    pub kind: Option<String>,
}

/// Everything that a pickle holds.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pub texts: Vec<String>,
    pub lists: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub storages: Vec<Storage>,
    pub tensors: Vec<TensorView>,
    /// Classes and functions that are no data, by name: what they would make is passed over.
    pub foreign: Vec<String>,
}

/// A checkpoint of ten thousand tensors has half as many.
const MOST_OPCODES: usize = 1 << 20;
/// Characters of a name that is copied.
pub(super) const MOST_NAME: usize = 512;
/// Names of foreign classes that are kept.
const MOST_FOREIGN: usize = 16;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 32;

struct Machine<'a> {
    rest: &'a [u8],
    /// Pairs that may still be copied from a list to a dict.
    pairs: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    heap: Heap,
}

type Result<T> = std::result::Result<T, String>;

const CUT: &str = "its pickle ends in the middle";
const EMPTY: &str = "its pickle takes from an empty stack";

/// Reads a pickle; gives its value and what that points to.
///
/// # Errors
/// In words: an opcode or an import that is not data, or a pickle that is cut or inconsistent.
pub(super) fn parse(bytes: &[u8]) -> Result<(Value, Heap)> {
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut machine = Machine { rest: bytes, pairs: bytes.len(), stack, marks, memo, heap: Heap::default() };
    for _ in 0..MOST_OPCODES {
        if machine.step()? {
            let value = machine.pop()?;
            return Ok((value, machine.heap));
        }
    }
    Err(format!("its pickle has more than {MOST_OPCODES} opcodes: no checkpoint"))
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(head)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        Ok(*head)
    }

    fn size4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.number()?) as usize)
    }

    fn line(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|b| *b == b'\n').ok_or(CUT)?;
        let line = String::from_utf8_lossy(&self.rest[..end]).trim_end().to_owned();
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        // What lies under a mark belongs to the mark's owner.
        if self.marks.last().is_some_and(|m| *m >= self.stack.len()) {
            return Err(EMPTY.into());
        }
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    fn above_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or("its pickle has no mark to go back to")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn text(&mut self, count: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(count)?).into_owned();
        self.heap.texts.push(text);
        self.stack.push(Value::Text(self.heap.texts.len() - 1));
        Ok(())
    }

    fn tuple(&mut self, values: Vec<Value>) {
        self.heap.lists.push(values);
        self.stack.push(Value::Tuple(self.heap.lists.len() - 1));
    }

    fn list(&mut self, values: Vec<Value>) {
        self.heap.lists.push(values);
        self.stack.push(Value::List(self.heap.lists.len() - 1));
    }

    fn dict(&mut self, values: Vec<Value>) {
        self.heap.dicts.push(Vec::new());
        self.stack.push(Value::Dict(self.heap.dicts.len() - 1));
        self.fill(values);
    }

    /// Adds keys and values to the dict on top; of other objects they are of no use.
    fn fill(&mut self, values: Vec<Value>) {
        let Some(Value::Dict(at)) = self.stack.last() else { return };
        let mut values = values.into_iter();
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            self.heap.dicts[*at].push((key, value));
        }
    }

    fn append(&mut self, values: Vec<Value>) {
        if let Some(Value::List(at)) = self.stack.last() {
            self.heap.lists[*at].extend(values);
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        if module.len() + name.len() > MOST_NAME {
            return Err(format!("it would import a name of {} bytes; refused", module.len() + name.len()));
        }
        let global = format!("{module}.{name}");
        if hostile(&global) {
            return Err(format!("it would run {global}, which is not data; refused, nothing was run"));
        }
        if !known(&global) && self.heap.foreign.len() < MOST_FOREIGN && !self.heap.foreign.contains(&global) {
            self.heap.foreign.push(global.clone());
        }
        self.heap.texts.push(global);
        self.stack.push(Value::Global(self.heap.texts.len() - 1));
        Ok(())
    }

    fn name(&self, value: &Value) -> Option<&str> {
        match value {
            Value::Text(at) | Value::Global(at) => Some(&self.heap.texts[*at]),
            _ => None,
        }
    }

    fn items(&self, value: &Value) -> &[Value] {
        match value {
            Value::Tuple(at) | Value::List(at) => &self.heap.lists[*at],
            _ => &[],
        }
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>> {
        let of = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| format!("a tensor has a size or stride of {n}")),
            _ => Err("a tensor's size is no number".to_owned()),
        };
        let items = self.items(value);
        if items.len() > MOST_DIMENSIONS {
            return Err(format!("a tensor of {} dimensions", items.len()));
        }
        items.iter().map(of).collect()
    }

    /// What calling `callee` on `arguments` would give, as far as it is data.
    fn reduce(&mut self, callee: &Value, arguments: &Value) -> Result<Value> {
        let Value::Global(at) = callee else { return Ok(Value::Opaque) };
        let name = self.heap.texts[*at].as_str();
        let arguments = self.items(arguments);
        if name == ORDERED_DICT {
            let pairs = arguments.first().map_or(&[][..], |pairs| self.items(pairs));
            let left =
                self.pairs.checked_sub(pairs.len()).ok_or("it makes dicts of one list again and again; refused")?;
            let pair = |pair: &Value| {
                if let [key, value, ..] = self.items(pair) { vec![key.clone(), value.clone()] } else { vec![] }
            };
            let pairs = pairs.iter().flat_map(pair).collect();
            self.pairs = left;
            self.dict(pairs);
            return self.pop();
        }
        if PARAMETER.contains(&name) {
            return Ok(arguments.first().cloned().unwrap_or(Value::Opaque));
        }
        let typed = name == REBUILD_TYPED;
        if !typed && !REBUILD.contains(&name) {
            return Ok(Value::Opaque);
        }
        // A storage without a type: the tensor brings it.
        let kind = arguments.get(6).filter(|_| typed).and_then(|dtype| self.name(dtype)).map(str::to_owned);
        let [Value::Storage(storage), Value::Int(offset), shape, stride, ..] = arguments else {
            return Err("a tensor is not made of storage, offset, size and stride".into());
        };
        let offset = usize::try_from(*offset).map_err(|_| format!("a tensor starts at element {offset}"))?;
        let view =
            TensorView { storage: *storage, offset, shape: self.sizes(shape)?, stride: self.sizes(stride)?, kind };
        self.heap.tensors.push(view);
        Ok(Value::Tensor(self.heap.tensors.len() - 1))
    }

    /// A reference out of the pickle: `('storage', class, key, location, elements)`.
    fn persistent(&mut self, id: &Value) -> Result<Value> {
        let wrong = || "it points to something that is no tensor storage".to_owned();
        let [tag, class, key, _, Value::Int(len)] = self.items(id) else { return Err(wrong()) };
        let kind = self.name(class).and_then(storage_kind);
        let (Some("storage"), Some(kind), Some(key)) = (self.name(tag), kind, self.name(key)) else {
            return Err(wrong());
        };
        if key.len() > MOST_NAME {
            return Err(format!("a storage with a name of {} bytes", key.len()));
        }
        let len = usize::try_from(*len).map_err(|_| wrong())?;
        let storage = Storage { key: key.to_owned(), kind: kind.to_owned(), len };
        self.heap.storages.push(storage);
        Ok(Value::Storage(self.heap.storages.len() - 1))
    }

    fn get(&mut self, index: u32) -> Result<()> {
        let value = self.memo.get(&index).cloned().ok_or("its pickle recalls what it never stored")?;
        self.stack.push(value);
        Ok(())
    }

    fn put(&mut self, index: u32) -> Result<()> {
        let value = self.stack.last().cloned().ok_or(EMPTY)?;
        self.memo.insert(index, value);
        Ok(())
    }

    /// One opcode; true at the end.
    fn step(&mut self) -> Result<bool> {
        let [opcode] = self.number()?;
        match opcode {
            b'.' => return Ok(true),
            0x80 => drop(self.number::<1>()?),
            0x95 => drop(self.number::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'}' => self.dict(Vec::new()),
            b']' => self.list(Vec::new()),
            b')' => self.tuple(Vec::new()),
            0x8f => self.stack.push(Value::Opaque),
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Opaque),
            b'J' => {
                let value = i32::from_le_bytes(self.number()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            b'K' => {
                let [value] = self.number()?;
                self.stack.push(Value::Int(i64::from(value)));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.number()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            0x8a => self.long()?,
            0x8b => {
                let size = self.size4()?;
                self.take(size)?;
                self.stack.push(Value::Opaque);
            }
            b'G' => {
                self.number::<8>()?;
                self.stack.push(Value::Opaque);
            }
            b'X' | b'T' => {
                let size = self.size4()?;
                self.text(size)?;
            }
            0x8c | b'U' => {
                let [size] = self.number()?;
                self.text(usize::from(size))?;
            }
            b'B' | b'C' => {
                let size = if opcode == b'B' { self.size4()? } else { usize::from(self.number::<1>()?[0]) };
                self.take(size)?;
                self.stack.push(Value::Opaque);
            }
            b'q' => {
                let [index] = self.number()?;
                self.put(u32::from(index))?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.number()?);
                self.put(index)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let [index] = self.number()?;
                self.get(u32::from(index))?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.number()?);
                self.get(index)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let of = |value| self.name(value).map(str::to_owned).ok_or("an import without a name");
                let (module, name) = (of(&module)?, of(&name)?);
                self.global(&module, &name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let value = self.persistent(&id)?;
                self.stack.push(value);
            }
            0x92 => {
                self.pop()?;
                self.pop()?;
                self.pop()?;
                self.stack.push(Value::Opaque);
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let value = self.reduce(&callee, &arguments)?;
                self.stack.push(value);
            }
            // The state of an object: of no use here.
            b'b' | b'0' => {
                self.pop()?;
            }
            b't' => {
                let values = self.above_mark()?;
                self.tuple(values);
            }
            b'l' => {
                let values = self.above_mark()?;
                self.list(values);
            }
            b'd' => {
                let values = self.above_mark()?;
                self.dict(values);
            }
            0x85..=0x87 => {
                let mut values = Vec::new();
                for _ in 0x85..=opcode {
                    values.push(self.pop()?);
                }
                values.reverse();
                self.tuple(values);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.fill(vec![key, value]);
            }
            b'u' => {
                let values = self.above_mark()?;
                self.fill(values);
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value]);
            }
            b'e' => {
                let values = self.above_mark()?;
                self.append(values);
            }
            0x90 => drop(self.above_mark()?),
            0x91 => {
                self.above_mark()?;
                self.stack.push(Value::Opaque);
            }
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let value = self.stack.last().cloned().ok_or(EMPTY)?;
                self.stack.push(value);
            }
            other => return Err(format!("its pickle has an opcode of no use in data, {other:#04x}; refused")),
        }
        Ok(false)
    }

    /// A little-endian two's complement number of given length; one too long for 64 bits is of no use.
    fn long(&mut self) -> Result<()> {
        let [size] = self.number()?;
        let bytes = self.take(usize::from(size))?;
        let value = if bytes.len() <= 8 {
            let fill = if bytes.last().is_some_and(|b| *b >= 128) { 0xff } else { 0 };
            let mut whole = [fill; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(whole))
        } else {
            Value::Opaque
        };
        self.stack.push(value);
        Ok(())
    }
}
