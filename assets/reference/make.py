#!/usr/bin/env python3
"""Makes mvd.safetensors and mvd.json: one distillation step in PyTorch, which `mvd selftest` compares itself with.

Needs torch and safetensors; run it only to change the reference. The models are written out here from the paper's
definitions, in plain functions over a dict of named tensors.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

CONFIG = dict(img=12, patch=4, frames=4, dim=32, depth=2, heads=2, ddim=16, ddepth=1, dheads=2, td=24, tdepth=2,
              theads=3, ratio=0.67, batch=2, seed=3)
C = CONFIG
SIDE, TIME = C["img"] // C["patch"], C["frames"] // 2
N = TIME * SIDE * SIDE


def axis(positions, dim):
    omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angle = positions.double()[:, None] * omega
    return torch.cat([angle.sin(), angle.cos()], 1)


def sincos_3d(dim):
    i = torch.arange(N)
    t, h, w = i // (SIDE * SIDE), i // SIDE % SIDE, i % SIDE
    parts = [axis(t, dim // 4), axis(w, dim // 8 * 3), axis(h, dim // 8 * 3)]
    return torch.cat(parts, 1).float()


def sincos_2d(dim):
    i = torch.arange(SIDE * SIDE)
    table = torch.cat([axis(i % SIDE, dim // 2), axis(i // SIDE, dim // 2)], 1).float()
    return torch.cat([torch.zeros(1, dim), table])


def sinusoid(dim):
    j = torch.arange(dim)
    angle = torch.arange(N).double()[:, None] / 10000.0 ** (2 * (j // 2).double() / dim)
    return torch.where(j % 2 == 0, angle.sin(), angle.cos()).float()


def declare(shapes, prefix, dim, depth, full_bias=False):
    for i in range(depth):
        b = f"{prefix}.{i}"
        shapes |= {f"{b}.norm1.weight": (dim,), f"{b}.norm1.bias": (dim,), f"{b}.attn.qkv.weight": (3 * dim, dim)}
        shapes |= {f"{b}.attn.qkv.bias": (3 * dim,)} if full_bias else {
            f"{b}.attn.q_bias": (dim,), f"{b}.attn.v_bias": (dim,)}
        shapes |= {f"{b}.attn.proj.weight": (dim, dim), f"{b}.attn.proj.bias": (dim,)}
        shapes |= {f"{b}.norm2.weight": (dim,), f"{b}.norm2.bias": (dim,)}
        shapes |= {f"{b}.mlp.fc1.weight": (4 * dim, dim), f"{b}.mlp.fc1.bias": (4 * dim,)}
        shapes |= {f"{b}.mlp.fc2.weight": (dim, 4 * dim), f"{b}.mlp.fc2.bias": (dim,)}
    return shapes


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def blocks(w, prefix, x, depth, heads):
    for i in range(depth):
        b = f"{prefix}.{i}"
        bias = w.get(f"{b}.attn.qkv.bias")
        if bias is None:
            q, v = w[f"{b}.attn.q_bias"], w[f"{b}.attn.v_bias"]
            bias = torch.cat([q, torch.zeros_like(q), v])
        B, n, d = x.shape
        qkv = F.linear(norm(w, b + ".norm1", x), w[f"{b}.attn.qkv.weight"], bias)
        q, k, v = qkv.view(B, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        attn = (q @ k.transpose(-1, -2) / math.sqrt(d // heads)).softmax(-1) @ v
        x = x + linear(w, b + ".attn.proj", attn.transpose(1, 2).reshape(B, n, d))
        x = x + linear(w, b + ".mlp.fc2", F.gelu(linear(w, b + ".mlp.fc1", norm(w, b + ".norm2", x))))
    return x


def student(w, video, mask):
    B, p = video.shape[0], C["patch"]
    x = F.conv3d(video, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], (2, p, p)).flatten(2).transpose(1, 2)
    x = (x + sincos_3d(C["dim"]))[~mask].view(B, -1, C["dim"])
    x = norm(w, "norm", blocks(w, "blocks", x, C["depth"], C["heads"]))
    out = {"encoder": x}
    for short, name in [("img", "image"), ("vid", "video")]:
        pos = sincos_3d(C["ddim"]).expand(B, -1, -1)
        seen, hidden = pos[~mask].view(B, -1, C["ddim"]), pos[mask].view(B, -1, C["ddim"])
        y = torch.cat([linear(w, "down_" + short, x) + seen, w["mask_token_" + short] + hidden], 1)
        y = blocks(w, f"decoder_{short}.blocks", y, C["ddepth"], C["dheads"])[:, seen.shape[1]:]
        out[name] = linear(w, f"decoder_{short}.head", norm(w, f"decoder_{short}.norm", y))
    return out


def image_teacher(w, video):
    B, p = video.shape[0], C["patch"]
    frames = video[:, :, ::2].transpose(1, 2).reshape(-1, 3, C["img"], C["img"])
    x = F.conv2d(frames, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], p).flatten(2).transpose(1, 2)
    pos = sincos_2d(C["td"])
    x = torch.cat([(w["cls_token"] + pos[:1]).expand(x.shape[0], -1, -1), x + pos[1:]], 1)
    return blocks(w, "blocks", x, C["tdepth"], C["theads"])[:, 1:].reshape(B, N, C["td"])


def video_teacher(w, video):
    p = C["patch"]
    x = F.conv3d(video, w["encoder.patch_embed.proj.weight"], w["encoder.patch_embed.proj.bias"], (2, p, p))
    x = x.flatten(2).transpose(1, 2) + sinusoid(C["td"])
    return blocks(w, "encoder.blocks", x, C["tdepth"], C["theads"])


def loss(kind, prediction, target, mask, normalised):
    if normalised:
        target = F.layer_norm(target, target.shape[-1:], None, None, 1e-6)
    target = target[mask].view(prediction.shape)
    return {"SmoothL1": F.smooth_l1_loss, "L1": F.l1_loss, "L2": F.mse_loss}[kind](prediction, target)


def main():
    torch.manual_seed(C["seed"])
    p, d, dd, td = C["patch"], C["dim"], C["ddim"], C["td"]
    s = {"patch_embed.proj.weight": (d, 3, 2, p, p), "patch_embed.proj.bias": (d,)}
    declare(s, "blocks", d, C["depth"])
    s |= {"norm.weight": (d,), "norm.bias": (d,)}
    for x in ["img", "vid"]:
        s |= {f"mask_token_{x}": (1, 1, dd), f"down_{x}.weight": (dd, d), f"down_{x}.bias": (dd,)}
        declare(s, f"decoder_{x}.blocks", dd, C["ddepth"])
        s |= {f"decoder_{x}.norm.weight": (dd,), f"decoder_{x}.norm.bias": (dd,)}
        s |= {f"decoder_{x}.head.weight": (td, dd), f"decoder_{x}.head.bias": (td,)}
    image = declare({"cls_token": (1, 1, td), "patch_embed.proj.weight": (td, 3, p, p),
                     "patch_embed.proj.bias": (td,)}, "blocks", td, C["tdepth"], full_bias=True)
    video = declare({"encoder.patch_embed.proj.weight": (td, 3, 2, p, p), "encoder.patch_embed.proj.bias": (td,)},
                    "encoder.blocks", td, C["tdepth"])

    def draw(shapes):
        scale = lambda shape: 0.3 if len(shape) < 2 else 1.2 / math.sqrt(math.prod(shape[1:]))
        one = lambda name: 1.0 if "norm" in name and name.endswith("weight") else 0.0
        return {n: one(n) + scale(shape) * torch.randn(shape) for n, shape in shapes.items()}

    weights, teachers = draw(s), (draw(image), draw(video))
    clip = torch.randn(C["batch"], 3, C["frames"], C["img"], C["img"])
    masked = int(C["ratio"] * SIDE * SIDE)
    mask = torch.stack([(torch.randperm(SIDE * SIDE) < masked).repeat(TIME) for _ in range(C["batch"])])
    targets = {"image": image_teacher(teachers[0], clip), "video": video_teacher(teachers[1], clip)}

    tensors = {"input.video": clip, "input.mask": mask.to(torch.uint8)}
    for prefix, group in [("student.", weights), ("image_teacher.", teachers[0]), ("video_teacher.", teachers[1])]:
        tensors |= {prefix + n: t.clone() for n, t in group.items()}
    for w in weights.values():
        w.requires_grad_()
    out = student(weights, clip, mask)
    tensors |= {"output." + n: t.detach().clone() for n, t in out.items()}
    tensors |= {f"output.{n}_teacher": t for n, t in targets.items()}
    info = {"config": CONFIG}
    for kind in ["SmoothL1", "L1", "L2"]:
        for suffix in ["", "_norm"]:
            info[kind + suffix] = {n: loss(kind, out[n], targets[n], mask, bool(suffix)).item() for n in targets}
    sum(loss("SmoothL1", out[n], targets[n], mask, False) for n in targets).backward()
    tensors |= {"grad." + n: w.grad.clone() for n, w in weights.items()}

    adamw = dict(lr=1e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.05)
    decay = [w for w in weights.values() if w.dim() > 1]
    rest = [w for w in weights.values() if w.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay}, {"params": rest, "weight_decay": 0.0}],
                                  lr=adamw["lr"], betas=tuple(adamw["betas"]), eps=adamw["eps"],
                                  weight_decay=adamw["weight_decay"])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        out = student(weights, clip, mask)
        total = sum(loss("SmoothL1", out[n], targets[n], mask, False) for n in targets)
        total.backward()
        optimizer.step()
        losses.append(total.item())
    tensors |= {"after5." + n: w.detach().clone() for n, w in weights.items()}
    info["adamw"] = adamw | {"losses": losses}
    here = pathlib.Path(__file__).parent
    save_file({n: t.contiguous() for n, t in tensors.items()}, here / "mvd.safetensors")
    (here / "mvd.json").write_text(json.dumps(info, indent=1) + "\n")


main()
