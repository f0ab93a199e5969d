//! Handles: what a recording speaks of instead of buffers.

/// A named, shaped block of GPU memory, known to the `Recorder` that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tensor(pub(in crate::gpu) u32);

/// Element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float: operands of matrix products.
    F16,
    /// 32-bit index.
    U32,
    /// Bytes, four to a `u32` word, lowest first.
    U8,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::U32 => 4,
            Dtype::F16 => 2,
            Dtype::U8 => 1,
        }
    }
}

/// Which of the arenas of a parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arena {
    /// The parameters.
    Weight,
    /// Their gradients, accumulated over the micro-batches of a step.
    Grad,
    /// First moment of AdamW (`exp_avg`).
    Moment1,
    /// Second moment of AdamW (`exp_avg_sq`).
    Moment2,
}

/// A parameter set of a recording: the student, or one teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamSet(pub(in crate::gpu) usize);

/// Where a tensor's bytes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpu) enum Home {
    /// Shares a slot with tensors that live at other times.
    Transient,
    /// A buffer of its own that the host writes: an input or a constant.
    Host,
    /// A texture that nodes read, shared with images that live at other times; see `Recorder::image`.
    Image,
    /// The same memory as another tensor, seen in another shape.
    View(Tensor),
    /// Words `offset..` of one chunk of an arena.
    Arena { set: ParamSet, chunk: usize, arena: Arena, offset: usize },
}

/// What the recorder knows of a tensor.
#[derive(Debug, Clone)]
pub(in crate::gpu) struct Info {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    pub home: Home,
    /// Some trainable value flows into it.
    pub needs_grad: bool,
    /// Readable after the plan ran: shares its memory with none.
    pub keep: bool,
}

impl Info {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes as bound: a multiple of 4.
    pub fn bytes(&self) -> usize {
        (self.len() * self.dtype.bytes()).next_multiple_of(4)
    }
}

/// The tensor whose memory this one is.
pub(in crate::gpu) fn root(tensors: &[Info], tensor: Tensor) -> Tensor {
    match tensors[tensor.0 as usize].home {
        Home::View(root) => root,
        _ => tensor,
    }
}

/// Words by which tensors of an arena are aligned: WebGPU's 256-byte storage offset.
pub const ALIGN_WORDS: usize = 64;

/// One parameter of a set: a tensor, and the names under which checkpoints know its parts.
#[derive(Debug, Clone)]
pub struct Param {
    /// `(checkpoint name, shape, first element)`; most have one part, a qkv bias has `q_bias` and `v_bias`.
    pub parts: Vec<(String, Vec<usize>, usize)>,
    /// The weight.
    pub weight: Tensor,
    /// The gradient, same shape; only in trainable sets.
    pub grad: Option<Tensor>,
    pub(in crate::gpu) chunk: usize,
    pub(in crate::gpu) offset: usize,
}

/// The parameters of one model and the sizes of its arenas.
#[derive(Debug, Clone)]
pub(in crate::gpu) struct Set {
    pub name: String,
    pub trainable: bool,
    pub params: Vec<Param>,
    /// Words of each chunk; no tensor straddles two.
    pub chunks: Vec<usize>,
    /// Whole-chunk handles `[weight, grad, m, v]`, made when first asked for.
    pub whole: Vec<[Tensor; 4]>,
}
