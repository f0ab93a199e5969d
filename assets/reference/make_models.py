#!/usr/bin/env python3
"""Makes mae, videomae and classifier (.safetensors, .json): losses and gradients of Hugging Face's implementations.

Needs torch and transformers; run it only to change the references. Norm epsilons and position tables are set to those of
the original implementations (1e-6; MVD's 3-D sin-cos for the classifier).
"""
import json
import pathlib
import tempfile

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
C = dict(img=16, patch=4, frames=4, dim=32, depth=2, heads=2, ddim=16, ddepth=1, dheads=2, ratio=0.75, batch=2, seed=5)
SIDE = C["img"] // C["patch"]
BLOCK = [
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.attention.q_bias", "attn.q_bias"),
    ("attention.attention.v_bias", "attn.v_bias"),
]


def official(state, names):
    """Hugging Face's tensors under official names, queries, keys and values joined."""
    out, parts = {}, {}
    for name, tensor in state.items():
        for theirs, ours in names:
            if not name.startswith(theirs):
                continue
            rest = name[len(theirs):]
            if ours.endswith("blocks."):
                index, rest = rest.split(".", 1)
                ours = f"{ours}{index}."
                found = [(t, o) for t, o in BLOCK if rest.startswith(t)]
                if found:
                    rest = found[0][1] + rest[len(found[0][0]):]
                else:
                    part, kind = rest.removeprefix("attention.attention.").split(".")
                    parts.setdefault(f"{ours}attn.qkv.{kind}", {})[part] = tensor
                    break
            out[ours + rest] = tensor
            break
        else:
            raise KeyError(name)
    for name, three in parts.items():
        out[name] = torch.cat([three[p] for p in ("query", "key", "value")])
    return out


def shake(model):
    torch.manual_seed(C["seed"])
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "position" not in name and "pos_embed" not in name:
                p.copy_(torch.randn_like(p) * (0.2 if p.dim() > 1 else 0.1) + (1.0 if "norm.weight" in name else 0.0))


def saved(model, names, frozen):
    """What a checkpoint of the model holds, under official names."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        state = load_file(f"{folder}/model.safetensors")
    return official({n: t for n, t in state.items() if n not in frozen}, names)


def write(name, model, names, loss, tensors, layout, frozen=()):
    loss.backward()
    state = saved(model, names, frozen)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
    grads = saved(model, names, frozen)
    out = tensors | {f"model.{n}": t for n, t in state.items()} | {f"grad.{n}": t for n, t in grads.items()}
    save_file({n: t.detach().contiguous() for n, t in out.items()}, HERE / f"{name}.safetensors")
    text = json.dumps({"config": C | layout.pop("config", {}), **layout, "loss": loss.item()}, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n")


def sizes(decoder=True):
    out = dict(
        image_size=C["img"], patch_size=C["patch"], hidden_size=C["dim"], num_hidden_layers=C["depth"],
        num_attention_heads=C["heads"], intermediate_size=4 * C["dim"], layer_norm_eps=1e-6, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, attn_implementation="eager",
    )
    if decoder:
        out |= dict(
            decoder_hidden_size=C["ddim"], decoder_num_hidden_layers=C["ddepth"], decoder_num_attention_heads=C["dheads"],
            decoder_intermediate_size=4 * C["ddim"],
        )
    return out


def axis(positions, dim):
    omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angle = positions.double()[:, None] * omega
    return torch.cat([angle.sin(), angle.cos()], 1)


def sincos_2d(dim):
    i = torch.arange(SIDE * SIDE)
    table = torch.cat([axis(i % SIDE, dim // 2), axis(i // SIDE, dim // 2)], 1).float()
    return torch.cat([torch.zeros(1, dim), table])[None]


def sincos_3d(dim):
    i = torch.arange(C["frames"] // 2 * SIDE * SIDE)
    t, h, w = i // (SIDE * SIDE), i // SIDE % SIDE, i % SIDE
    return torch.cat([axis(t, dim // 4), axis(w, dim // 8 * 3), axis(h, dim // 8 * 3)], 1).float()[None]


def mae():
    config = transformers.ViTMAEConfig(**sizes(), mask_ratio=C["ratio"], norm_pix_loss=True)
    model = transformers.ViTMAEForPreTraining(config)
    shake(model)
    with torch.no_grad():
        model.vit.embeddings.position_embeddings.copy_(sincos_2d(C["dim"]))
        model.decoder.decoder_pos_embed.copy_(sincos_2d(C["ddim"]))
    pixels = torch.randn(C["batch"], 3, C["img"], C["img"])
    order = torch.rand(C["batch"], SIDE * SIDE)
    found = model(pixels, noise=order)
    mask = found.mask
    patches = model.patchify(pixels)
    mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    target = (patches - mean) / (var + 1e-6) ** 0.5
    pick = lambda x: x[mask.bool()].reshape(C["batch"], -1, x.shape[-1])
    tensors = {
        "input.video": pixels[:, :, None], "input.mask": mask, "output.prediction": pick(found.logits),
        "output.target": pick(target),
    }
    names = [
        ("vit.embeddings.cls_token", "cls_token"), ("vit.embeddings.patch_embeddings.projection.", "patch_embed.proj."),
        ("vit.encoder.layer.", "blocks."), ("vit.layernorm.", "norm."), ("decoder.decoder_embed.", "decoder_embed."),
        ("decoder.mask_token", "mask_token"), ("decoder.decoder_layers.", "decoder_blocks."),
        ("decoder.decoder_encoder.layer.", "decoder_blocks."), ("decoder.decoder_norm.", "decoder_norm."),
        ("decoder.decoder_pred.", "decoder_pred."),
    ]
    frozen = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")
    write("mae", model, names, found.loss, tensors, {"config": {"frames": 1, "tubelet": 1}}, frozen)


def videomae():
    config = transformers.VideoMAEConfig(
        **sizes(), num_frames=C["frames"], tubelet_size=2, use_mean_pooling=False, norm_pix_loss=True, qkv_bias=True)
    model = transformers.VideoMAEForPreTraining(config)
    shake(model)
    model.decoder.norm.eps = 1e-6
    video = torch.randn(C["batch"], 3, C["frames"], C["img"], C["img"])
    plane = torch.zeros(C["batch"], SIDE * SIDE)
    for row in plane:
        row[torch.randperm(SIDE * SIDE)[: int(C["ratio"] * SIDE * SIDE)]] = 1
    mask = plane.repeat(1, C["frames"] // 2)
    found = model(video.transpose(1, 2), bool_masked_pos=mask.bool())
    tensors = {"input.video": video, "input.mask": mask, "output.prediction": found.logits, "output.target": target(video, mask)}
    names = [
        ("videomae.embeddings.patch_embeddings.projection.", "encoder.patch_embed.proj."),
        ("videomae.encoder.layer.", "encoder.blocks."), ("videomae.layernorm.", "encoder.norm."),
        ("encoder_to_decoder.", "encoder_to_decoder."), ("mask_token", "mask_token"),
        ("decoder.decoder_layers.", "decoder.blocks."), ("decoder.norm.", "decoder.norm."),
        ("decoder.head.", "decoder.head."),
    ]
    write("videomae", model, names, found.loss, tensors, {})


def target(video, mask):
    """VideoMAE's target: un-normalised pixels, each colour of a patch for itself."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = video * std[:, None, None, None] + mean[:, None, None, None]
    p = C["patch"]
    x = pixels.reshape(C["batch"], 3, C["frames"] // 2, 2, SIDE, p, SIDE, p).permute(0, 2, 4, 6, 3, 5, 7, 1)
    x = x.reshape(C["batch"], -1, 2 * p * p, 3)
    x = (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True).sqrt() + 1e-6)
    return x.reshape(*x.shape[:2], -1)[mask.bool()].reshape(C["batch"], -1, 6 * p * p)


def classifier():
    classes, smoothing = 5, 0.1
    config = transformers.VideoMAEConfig(
        **sizes(decoder=False), num_frames=C["frames"], tubelet_size=2, use_mean_pooling=True, qkv_bias=True,
        num_labels=classes)
    model = transformers.VideoMAEForVideoClassification(config)
    shake(model)
    model.fc_norm.eps = 1e-6
    model.videomae.embeddings.position_embeddings = sincos_3d(C["dim"])
    video = torch.randn(C["batch"], 3, C["frames"], C["img"], C["img"])
    labels = torch.tensor([3, 1])
    logits = model(video.transpose(1, 2)).logits
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    tensors = {"input.video": video, "input.labels": labels, "output.logits": logits}
    names = [
        ("videomae.embeddings.patch_embeddings.projection.", "patch_embed.proj."), ("videomae.encoder.layer.", "blocks."),
        ("fc_norm.", "fc_norm."), ("classifier.", "head."),
    ]
    write("classifier", model, names, loss, tensors, {"classes": classes, "label_smoothing": smoothing})


if __name__ == "__main__":
    mae()
    videomae()
    classifier()
