"""One training step of `bench-tiny` or `small-from-base` in PyTorch on the CPU, as `mvd bench` runs it.

    python pytorch.py bench-tiny [--threads 2] [--runs 5]

Student on visible tokens, both decoders, both frozen teachers, SmoothL1, AdamW; scaled_dot_product_attention.
Prints one JSON line: median seconds of a step, peak memory of the process in MiB.
"""
import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {
    # frames, size, patch, batch, masked patches of a frame, student, decoders, teachers as (dim, depth, heads)
    "bench-tiny": (8, 64, 8, 8, 48, (192, 6, 3), (96, 2, 3), (192, 6, 3)),
    "small-from-base": (16, 224, 16, 1, 176, (384, 12, 6), (384, 2, 6), (768, 12, 12)),
}


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


def main():
    args = argparse.ArgumentParser()
    args.add_argument("step", choices=SIZES)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--runs", type=int, default=5)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    frames, size, patch, batch, masked, student, decoder, teacher = SIZES[args.step]
    slices, side = frames // 2, (size // patch) ** 2
    tokens, visible = slices * side, slices * (side - masked)
    wide = 3 * 2 * patch * patch
    embed, encoder, norm = nn.Linear(wide, student[0]), blocks(*student), nn.LayerNorm(student[0], eps=1e-6)
    decoders = nn.ModuleList([Decoder(student[0], decoder, teacher[0], tokens) for _ in range(2)])
    image_embed, image = nn.Linear(3 * patch * patch, teacher[0]), blocks(*teacher)
    video_embed, video = nn.Linear(wide, teacher[0]), blocks(*teacher)
    position = torch.randn(1, tokens, student[0])
    parameters = [p for m in (embed, encoder, norm, decoders) for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05)
    pixels, order = torch.randn(batch, 3, frames, size, size), torch.arange(tokens)
    token = torch.randn(1, 1, teacher[0])

    def step():
        with torch.no_grad():
            one = pixels[:, :, ::2].transpose(1, 2).reshape(batch * slices, 3, 1, size, size)
            x = torch.cat([token.expand(batch * slices, -1, -1), image_embed(cut(one, patch, 1))], 1)
            targets = [image(x)[:, 1:].reshape(batch, tokens, -1), video(video_embed(cut(pixels, patch, 2)))]
        patches = cut(pixels, patch, 2)[:, :visible]
        x = norm(encoder(embed(patches) + position[:, :visible]))
        loss = sum(F.smooth_l1_loss(d(x, order), t[:, visible:]) for d, t in zip(decoders, targets))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    step()
    step()
    seconds = []
    for _ in range(args.runs):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    median, fastest = statistics.median(seconds), min(seconds)
    print(json.dumps({"step": args.step, "seconds": median, "fastest": fastest, "peak_mib": peak}))


main()
