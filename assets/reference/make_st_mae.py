#!/usr/bin/env python3
"""Makes st_mae.safetensors and st_mae.json: five steps of ST-MAE's pre-training and the logits of its classifier in PyTorch,
which `mvd selftest` compares itself with.

Needs torch and safetensors; run it only to change the reference. The model is written out here from the paper's definitions,
in plain functions over a dict of named tensors. Key biases are kept: their gradient is zero in exact arithmetic, and AdamW
would blow rounding noise up.
"""
import json
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

C = dict(img_size=12, patch_size=4, embed_dim=32, depth=2, num_heads=2, decoder_embed_dim=20, decoder_depth=1,
         decoder_num_heads=2, num_frames=6, t_patch_size=2, pred_t_dim=3, ratio=0.75, batch=3, seed=7)
P, SIDE, TIME = C["patch_size"], C["img_size"] // C["patch_size"], C["num_frames"] // C["t_patch_size"]
N = TIME * SIDE * SIDE
KEPT = int(N * (1 - C["ratio"]))


def block(shapes, name, dim):
    for which in ["q", "k", "v", "proj"]:
        shapes |= {f"{name}.attn.{which}.weight": (dim, dim), f"{name}.attn.{which}.bias": (dim,)}
    for which in ["norm1", "norm2"]:
        shapes |= {f"{name}.{which}.weight": (dim,), f"{name}.{which}.bias": (dim,)}
    shapes |= {f"{name}.mlp.fc1.weight": (4 * dim, dim), f"{name}.mlp.fc1.bias": (4 * dim,)}
    shapes |= {f"{name}.mlp.fc2.weight": (dim, 4 * dim), f"{name}.mlp.fc2.bias": (dim,)}


def shapes():
    d, dd, out = C["embed_dim"], C["decoder_embed_dim"], C["pred_t_dim"] // TIME * P * P * 3
    s = {"patch_embed.proj.weight": (d, 3, C["t_patch_size"], P, P), "patch_embed.proj.bias": (d,)}
    for prefix, dim in [("", d), ("decoder_", dd)]:
        s |= {f"{prefix}cls_token": (1, 1, dim), f"{prefix}pos_embed_class": (1, 1, dim)}
        s |= {f"{prefix}pos_embed_spatial": (1, SIDE * SIDE, dim), f"{prefix}pos_embed_temporal": (1, TIME, dim)}
        s |= {f"{prefix}norm.weight": (dim,), f"{prefix}norm.bias": (dim,)}
    s |= {"mask_token": (1, 1, dd), "decoder_embed.weight": (dd, d), "decoder_embed.bias": (dd,)}
    s |= {"decoder_pred.weight": (out, dd), "decoder_pred.bias": (out,)}
    for i in range(C["depth"]):
        block(s, f"blocks.{i}", d)
    for i in range(C["decoder_depth"]):
        block(s, f"decoder_blocks.{i}", dd)
    return s


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)


def linear(w, name, x):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def blocks(w, prefix, x, depth, heads):
    B, n, d = x.shape
    for i in range(depth):
        b = f"{prefix}.{i}"
        h = norm(w, b + ".norm1", x)
        q, k, v = (linear(w, f"{b}.attn.{which}", h).view(B, n, heads, d // heads).transpose(1, 2) for which in "qkv")
        attn = (q @ k.transpose(-1, -2) / math.sqrt(d // heads)).softmax(-1) @ v
        x = x + linear(w, b + ".attn.proj", attn.transpose(1, 2).reshape(B, n, d))
        x = x + linear(w, b + ".mlp.fc2", F.gelu(linear(w, b + ".mlp.fc1", norm(w, b + ".norm2", x))))
    return x


def table(w, prefix):
    spatial, temporal = w[prefix + "pos_embed_spatial"], w[prefix + "pos_embed_temporal"]
    return spatial.repeat(1, TIME, 1) + temporal.repeat_interleave(SIDE * SIDE, 1)


def pick(x, index):
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def encode(w, video, kept):
    """The last block's tokens of those that are kept (B, V), without the class token."""
    stride = (C["t_patch_size"], P, P)
    x = F.conv3d(video, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride).flatten(2).transpose(1, 2)
    x = pick(x + table(w, ""), kept)
    x = torch.cat([(w["cls_token"] + w["pos_embed_class"]).expand(video.shape[0], -1, -1), x], 1)
    return blocks(w, "blocks", x, C["depth"], C["num_heads"])[:, 1:]


def classify(w, video):
    """The mean over all tokens, and the logits."""
    pooled = encode(w, video, torch.arange(N).expand(video.shape[0], -1)).mean(1)
    return pooled, linear(w, "head", norm(w, "norm", pooled))


def predict(w, video, order):
    """`order` (B, N) is a shuffle of the tokens, of which the first are seen."""
    B, dd = video.shape[0], C["decoder_embed_dim"]
    x = norm(w, "norm", encode(w, video, order[:, :KEPT]))
    x = torch.cat([linear(w, "decoder_embed", x), w["mask_token"].expand(B, N - KEPT, dd)], 1)
    x = pick(x, order.argsort(1)) + table(w, "decoder_")
    x = torch.cat([(w["decoder_cls_token"] + w["decoder_pos_embed_class"]).expand(B, -1, -1), x], 1)
    x = norm(w, "decoder_norm", blocks(w, "decoder_blocks", x, C["decoder_depth"], C["decoder_num_heads"]))
    return linear(w, "decoder_pred", x)[:, 1:]


def target(video):
    frames = torch.linspace(0, C["num_frames"] - 1, C["pred_t_dim"]).long()
    x = video[:, :, frames].reshape(video.shape[0], 3, TIME, -1, SIDE, P, SIDE, P).permute(0, 2, 4, 6, 3, 5, 7, 1)
    x = x.reshape(video.shape[0], N, -1)
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()


def main():
    torch.manual_seed(C["seed"])
    scale = lambda shape: 0.3 if len(shape) < 2 or shape[0] == 1 else 1.2 / math.sqrt(math.prod(shape[1:]))
    one = lambda name: 1.0 if "norm" in name and name.endswith("weight") else 0.0
    w = {n: one(n) + scale(shape) * torch.randn(shape) for n, shape in shapes().items()}
    video = torch.randn(C["batch"], 3, C["num_frames"], C["img_size"], C["img_size"])
    order = torch.rand(C["batch"], N).argsort(1)
    mask = torch.ones(C["batch"], N)
    mask.scatter_(1, order[:, :KEPT], 0.0)
    tensors = {"input.video": video, "input.mask": mask, "input.ids_keep": order[:, :KEPT].int(),
               "input.ids_restore": order.argsort(1).int()} | {f"weight.{n}": t.clone() for n, t in w.items()}
    head = {"head.weight": 0.2 * torch.randn(5, C["embed_dim"]), "head.bias": 0.3 * torch.randn(5)}
    pooled, logits = classify(w | head, video)
    tensors |= {f"weight.{n}": t for n, t in head.items()} | {"output.pooled": pooled, "output.logits": logits}
    for t in w.values():
        t.requires_grad_()

    def loss(prediction):
        return (((prediction - target(video)) ** 2).mean(-1) * mask).sum() / mask.sum()

    prediction = predict(w, video, order)
    first = loss(prediction)
    first.backward()
    tensors |= {"output.prediction": prediction.detach()} | {f"grad.{n}": t.grad.clone() for n, t in w.items()}

    adamw = dict(lr=1e-3, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.05)
    trained = {n: t for n, t in w.items() if not n.endswith(".attn.k.bias")}
    groups = [{"params": [t for t in trained.values() if t.dim() > 1]},
              {"params": [t for t in trained.values() if t.dim() <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=adamw["lr"], betas=tuple(adamw["betas"]), eps=adamw["eps"],
                                  weight_decay=adamw["weight_decay"])
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        total = loss(predict(w, video, order))
        total.backward()
        optimizer.step()
        losses.append(total.item())
    tensors |= {f"after5.{n}": t.detach().clone() for n, t in w.items()}
    here = pathlib.Path(__file__).parent
    save_file({n: t.contiguous() for n, t in tensors.items()}, here / "st_mae.safetensors")
    (here / "st_mae.json").write_text(json.dumps(C | {"loss": first.item(), "adamw": adamw | {"losses": losses}}, indent=1) + "\n")


main()
