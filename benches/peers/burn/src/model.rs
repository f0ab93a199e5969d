//! The student with its two decoders, and the two frozen teachers.
//!
//! B batch, T slices of two frames, N tokens of a clip, V visible, M masked, C channels, P pixels of a patch.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::module::attention;
use burn::tensor::{Device, Distribution, Int, Tensor, s};

/// Frames of a slice.
const TUBELET: usize = 2;

/// A transformer's sizes.
#[derive(Debug, Clone, Copy)]
pub struct Vit {
    /// Channels.
    pub dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of attention.
    pub heads: usize,
}

/// A step's sizes.
#[derive(Debug)]
pub struct Sizes {
    /// Its name in `mvd bench`.
    pub name: &'static str,
    /// Frames of a clip.
    pub frames: usize,
    /// Pixels of a frame's side.
    pub size: usize,
    /// Pixels of a patch's side.
    pub patch: usize,
    /// Clips of a step.
    pub batch: usize,
    /// Masked patches of a frame.
    pub masked: usize,
    /// The student's encoder.
    pub student: Vit,
    /// Each of the decoders.
    pub decoder: Vit,
    /// Each of the teachers.
    pub teacher: Vit,
}

impl Sizes {
    fn slices(&self) -> usize {
        self.frames / TUBELET
    }

    fn patches(&self) -> usize {
        (self.size / self.patch).pow(2)
    }

    /// Tokens of a clip.
    pub fn tokens(&self) -> usize {
        self.slices() * self.patches()
    }

    /// Visible tokens of a clip.
    pub fn visible(&self) -> usize {
        self.slices() * (self.patches() - self.masked)
    }
}

fn linear(input: usize, output: usize, device: &Device) -> Linear {
    LinearConfig::new(input, output).init(device)
}

fn norm(dim: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(dim).with_epsilon(1e-6).init(device)
}

/// Cuts clips into patches: `[B, 3, frames, size, size]` to `[B, N, P]`.
pub fn cut(clips: Tensor<5>, patch: usize, tubelet: usize) -> Tensor<3> {
    let [batch, channels, frames, height, width] = clips.dims();
    let (slices, rows, columns) = (frames / tubelet, height / patch, width / patch);
    let x: Tensor<8> = clips.reshape([batch, channels, slices, tubelet, rows, patch, columns, patch]);
    x.permute([0, 2, 4, 6, 1, 3, 5, 7]).reshape([batch, slices * rows * columns, channels * tubelet * patch * patch])
}

#[derive(Module, Debug)]
struct Block {
    heads: usize,
    norm1: LayerNorm,
    norm2: LayerNorm,
    qkv: Linear,
    proj: Linear,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(vit: Vit, device: &Device) -> Self {
        let dim = vit.dim;
        Self {
            heads: vit.heads,
            norm1: norm(dim, device),
            norm2: norm(dim, device),
            qkv: linear(dim, 3 * dim, device),
            proj: linear(dim, dim, device),
            fc1: linear(dim, 4 * dim, device),
            fc2: linear(4 * dim, dim, device),
        }
    }

    /// `[B, N, C]` to `[B, N, C]`.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, dim] = x.dims();
        let qkv: Tensor<5> =
            self.qkv.forward(self.norm1.forward(x.clone())).reshape([batch, tokens, 3, self.heads, dim / self.heads]);
        let qkv = qkv.permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.clone().narrow(0, i, 1).squeeze_dim::<4>(0));
        let y = attention(q, k, v, None, None, Default::default());
        let x = x + self.proj.forward(y.swap_dims(1, 2).reshape([batch, tokens, dim]));
        x.clone() + self.fc2.forward(gelu(self.fc1.forward(self.norm2.forward(x))))
    }
}

fn blocks(vit: Vit, device: &Device) -> Vec<Block> {
    (0..vit.depth).map(|_| Block::new(vit, device)).collect()
}

fn run(blocks: &[Block], x: Tensor<3>) -> Tensor<3> {
    blocks.iter().fold(x, |x, block| block.forward(x))
}

fn normal(shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

#[derive(Module, Debug)]
struct Decoder {
    down: Linear,
    mask: Param<Tensor<3>>,
    position: Tensor<3>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

impl Decoder {
    fn new(sizes: &Sizes, device: &Device) -> Self {
        let vit = sizes.decoder;
        Self {
            down: linear(sizes.student.dim, vit.dim, device),
            mask: Param::from_tensor(Tensor::zeros([1, 1, vit.dim], device)),
            position: normal([1, sizes.tokens(), vit.dim], device),
            blocks: blocks(vit, device),
            norm: norm(vit.dim, device),
            head: linear(vit.dim, sizes.teacher.dim, device),
        }
    }

    /// `[B, V, C]` and the order of the tokens `[N]` to what the teacher says of the masked ones, `[B, M, C]`.
    fn forward(&self, x: Tensor<3>, order: Tensor<1, Int>) -> Tensor<3> {
        let [batch, visible, _] = x.dims();
        let [tokens] = order.dims();
        let mask = self.mask.val().expand([batch as i64, (tokens - visible) as i64, -1]);
        let x = Tensor::cat(vec![self.down.forward(x), mask], 1) + self.position.clone().select(1, order);
        let x = run(&self.blocks, x).slice(s![.., visible..]);
        self.head.forward(self.norm.forward(x))
    }
}

/// What is trained: the encoder and a decoder for each teacher.
#[derive(Module, Debug)]
pub struct Student {
    embed: Linear,
    position: Tensor<3>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    decoders: [Decoder; 2],
}

impl Student {
    /// With random weights.
    pub fn new(sizes: &Sizes, device: &Device) -> Self {
        let vit = sizes.student;
        Self {
            embed: linear(3 * TUBELET * sizes.patch.pow(2), vit.dim, device),
            position: normal([1, sizes.tokens(), vit.dim], device),
            blocks: blocks(vit, device),
            norm: norm(vit.dim, device),
            decoders: [Decoder::new(sizes, device), Decoder::new(sizes, device)],
        }
    }

    /// Patches of the visible tokens `[B, V, P]` and the order of all tokens `[N]` to both decoders' `[B, M, C]`.
    pub fn forward(&self, patches: Tensor<3>, order: &Tensor<1, Int>) -> [Tensor<3>; 2] {
        let [_, visible, _] = patches.dims();
        let x = self.embed.forward(patches) + self.position.clone().slice(s![.., ..visible]);
        let x = self.norm.forward(run(&self.blocks, x));
        self.decoders.each_ref().map(|decoder| decoder.forward(x.clone(), order.clone()))
    }
}

/// The teachers of single frames and of video.
#[derive(Module, Debug)]
pub struct Teachers {
    token: Tensor<3>,
    image_embed: Linear,
    image: Vec<Block>,
    video_embed: Linear,
    video: Vec<Block>,
}

impl Teachers {
    /// With random weights.
    pub fn new(sizes: &Sizes, device: &Device) -> Self {
        let (vit, pixels) = (sizes.teacher, 3 * sizes.patch.pow(2));
        Self {
            token: normal([1, 1, vit.dim], device),
            image_embed: linear(pixels, vit.dim, device),
            image: blocks(vit, device),
            video_embed: linear(TUBELET * pixels, vit.dim, device),
            video: blocks(vit, device),
        }
    }

    /// `[B, 3, frames, size, size]` to what each says of every token, `[B, N, C]`. The image teacher sees a slice's first frame.
    pub fn forward(&self, clips: Tensor<5>, sizes: &Sizes) -> [Tensor<3>; 2] {
        let (images, size) = (sizes.batch * sizes.slices(), sizes.size);
        let frames = clips.clone().slice(s![.., .., ..;2]).swap_dims(1, 2).reshape([images, 3, 1, size, size]);
        let token = self.token.clone().expand([images as i64, -1, -1]);
        let x = Tensor::cat(vec![token, self.image_embed.forward(cut(frames, sizes.patch, 1))], 1);
        let image = run(&self.image, x).slice(s![.., 1..]).reshape([sizes.batch, sizes.tokens(), sizes.teacher.dim]);
        let video = run(&self.video, self.video_embed.forward(cut(clips, sizes.patch, TUBELET)));
        [image, video]
    }
}
