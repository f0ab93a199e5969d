"""One training step of a workload of `mvd bench` in PyTorch, on the CPU or on a CUDA device.

    python pytorch.py bench-tiny [--threads 2] [--runs 5]
    python pytorch.py base-from-base --device cuda --mode f32 tf32 bf16 fp16 --batch 8

Student on visible tokens, both decoders, both frozen teachers, SmoothL1, AdamW; scaled_dot_product_attention.
Prints one JSON line per mode. `seconds` is the median of steps that are waited for one by one, `fastest` the shortest of them,
`queued` the mean of as many steps submitted without waiting in between (CUDA only). `peak_mib` is the memory of the process; on
CUDA, of the device's tensors.
"""
import argparse
import contextlib
import json
import resource
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as missing:
    sys.exit(f"pytorch.py: {missing}: expected PyTorch; pip install torch")

SIZES = {
    # frames, size, patch, batch, masked patches of a frame, student, decoders, teachers as (dim, depth, heads)
    "bench-tiny": (8, 64, 8, 8, 48, (192, 6, 3), (96, 2, 3), (192, 6, 3)),
    "small-from-base": (16, 224, 16, 1, 176, (384, 12, 6), (384, 2, 6), (768, 12, 12)),
    "base-from-base": (16, 224, 16, 1, 176, (768, 12, 12), (768, 2, 12), (768, 12, 12)),
}
# f32 without TF32, f32 with TF32, and autocast; fp16 scales its loss.
MODES = ["f32", "tf32", "bf16", "fp16"]


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


def blocks(dim, depth, heads):
    return nn.Sequential(*[Block(dim, heads) for _ in range(depth)])


class Decoder(nn.Module):
    def __init__(self, dim, vit, target, tokens):
        super().__init__()
        self.down, self.mask = nn.Linear(dim, vit[0]), nn.Parameter(torch.zeros(1, 1, vit[0]))
        self.position = nn.Parameter(torch.randn(1, tokens, vit[0]), requires_grad=False)
        self.blocks, self.norm, self.head = blocks(*vit), nn.LayerNorm(vit[0], eps=1e-6), nn.Linear(vit[0], target)

    def forward(self, x, order):
        b, visible, _ = x.shape
        masked = order.shape[0] - visible
        x = torch.cat([self.down(x), self.mask.expand(b, masked, -1)], 1) + self.position[:, order]
        return self.head(self.norm(self.blocks(x)[:, visible:]))


def cut(video, patch, tubelet):
    b, c, t, h, w = video.shape
    x = video.reshape(b, c, t // tubelet, tubelet, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b, -1, c * tubelet * patch * patch)


class Distillation(nn.Module):
    """Student, decoders and frozen teachers; `forward` gives the loss of clips (B, 3, T, H, W)."""

    def __init__(self, sizes):
        super().__init__()
        self.frames, size, self.patch, _, masked, student, decoder, teacher = sizes
        self.slices, side = self.frames // 2, (size // self.patch) ** 2
        self.tokens, self.visible = self.slices * side, self.slices * (side - masked)
        wide = 3 * 2 * self.patch * self.patch
        self.embed, self.encoder = nn.Linear(wide, student[0]), blocks(*student)
        self.norm = nn.LayerNorm(student[0], eps=1e-6)
        self.decoders = nn.ModuleList([Decoder(student[0], decoder, teacher[0], self.tokens) for _ in range(2)])
        image_embed, video_embed = nn.Linear(3 * self.patch * self.patch, teacher[0]), nn.Linear(wide, teacher[0])
        self.image = nn.ModuleList([image_embed, blocks(*teacher)]).requires_grad_(False)
        self.video = nn.ModuleList([video_embed, blocks(*teacher)]).requires_grad_(False)
        self.register_buffer("position", torch.randn(1, self.tokens, student[0]))
        self.register_buffer("token", torch.randn(1, 1, teacher[0]))
        self.register_buffer("order", torch.arange(self.tokens))

    @torch.no_grad()
    def targets(self, pixels):
        batch, _, _, size, _ = pixels.shape
        frames = batch * self.slices
        one = pixels[:, :, ::2].transpose(1, 2).reshape(frames, 3, 1, size, size)
        (image_embed, image), (video_embed, video) = self.image, self.video
        x = torch.cat([self.token.expand(frames, -1, -1), image_embed(cut(one, self.patch, 1))], 1)
        return [image(x)[:, 1:].reshape(batch, self.tokens, -1), video(video_embed(cut(pixels, self.patch, 2)))]

    def forward(self, pixels):
        targets = self.targets(pixels)
        patches = cut(pixels, self.patch, 2)[:, : self.visible]
        x = self.norm(self.encoder(self.embed(patches) + self.position[:, : self.visible]))
        return sum(F.smooth_l1_loss(d(x, self.order), t[:, self.visible :]) for d, t in zip(self.decoders, targets))


def measure(args, mode):
    device, cuda = torch.device(args.device), args.device == "cuda"
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode == "tf32"
        torch.set_float32_matmul_precision("high" if mode == "tf32" else "highest")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mode)
    frames, size, _, batch = SIZES[args.step][:4]
    batch = args.batch or batch
    model = Distillation(SIZES[args.step]).to(device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    scaler = torch.amp.GradScaler(args.device, enabled=mode == "fp16")
    pixels = torch.randn(batch, 3, frames, size, size, device=device)

    def step():
        with torch.autocast(args.device, half) if half else contextlib.nullcontext():
            loss = model(pixels)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()

    def seconds(steps):
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / steps

    for _ in range(3 if cuda else 2):
        seconds(1)
    each = [seconds(1) for _ in range(args.runs)]
    peak = torch.cuda.max_memory_allocated() if cuda else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {"step": args.step, "seconds": statistics.median(each), "fastest": min(each), "peak_mib": peak / 2**20}
    if cuda:
        figures["queued"] = seconds(args.runs)
    return figures | {
        "mode": mode,
        "batch": batch,
        "clips_per_second": batch / figures.get("queued", figures["seconds"]),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "torch": torch.__version__,
    }


def main():
    args = argparse.ArgumentParser()
    args.add_argument("step", choices=SIZES)
    args.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args.add_argument("--mode", choices=MODES, nargs="+", default=["f32"])
    args.add_argument("--batch", type=int, help="clips of a step")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--runs", type=int, default=5)
    args = args.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"pytorch.py: --device cuda: PyTorch {torch.__version__} finds no CUDA device; --device cpu needs none")
    if args.device == "cpu" and args.mode != ["f32"]:
        sys.exit(f"pytorch.py: --mode {' '.join(args.mode)}: the CPU has f32 alone; others need --device cuda")
    torch.set_num_threads(args.threads)
    for mode in args.mode:
        print(json.dumps(measure(args, mode)), flush=True)


main()
