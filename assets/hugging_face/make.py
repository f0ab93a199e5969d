"""Runs what `mvd convert --to hf` writes in transformers: python assets/hugging_face/make.py MVD (torch, transformers).

Of the weights in assets/reference it makes NAME_io.safetensors, inputs and the outputs of transformers, and
written.json, checksums of the files that gave them. A test holds the program to both.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
FLAGS = "--to hf --heads 2 --decoder-heads 2 --input-size 16 --frames 4".split()


def convert(mvd, name, reference, folder):
    weights = {key[6:]: value for key, value in reference.items() if key.startswith("model.")}
    source = folder / "source.safetensors"
    save_file(weights, source)
    # MVD's classifiers have the same names.
    model = ["--model", "videomae"] if name == "classifier" else []
    subprocess.run([mvd, "convert", source, folder / name, *FLAGS, *model], check=True)
    return folder / name


def last_block(encoder, run):
    """The result of run, and what the encoder's last block gave before any norm."""
    kept = []
    layers = next(module for module in encoder.modules() if isinstance(module, torch.nn.ModuleList))
    hook = layers[-1].register_forward_hook(lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out))
    result = run()
    hook.remove()
    return result, kept[0]


def outputs(folder, video, mask):
    config = transformers.AutoConfig.from_pretrained(folder)
    model, loading = getattr(transformers, config.architectures[0]).from_pretrained(folder, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not loading[key], (folder, key, loading[key])
    model.eval()
    if config.model_type == "vit_mae":
        pixels = video[:, :, 0].contiguous()
        model.config.mask_ratio = model.vit.embeddings.config.mask_ratio = 0.0
        tokens = (config.image_size // config.patch_size) ** 2
        order = torch.arange(tokens).float().expand(len(pixels), tokens)
        result, block = last_block(model.vit, lambda: model.vit(pixels, noise=order))
        return {
            "input.pixel_values": pixels,
            "output.last_block": block[:, 1:],
            "output.last_hidden_state": result.last_hidden_state,
        }
    pixels = video.transpose(1, 2).contiguous()
    if "Classification" in config.architectures[0]:
        return {"input.pixel_values": pixels, "output.logits": model(pixels).logits}
    _, block = last_block(model.videomae, lambda: model.videomae(pixels))
    result = model(pixels, bool_masked_pos=mask.bool())
    return {
        "input.pixel_values": pixels,
        "input.mask": mask.to(torch.uint8),
        "output.last_block": block,
        "output.logits": result.logits,
        "output.loss": result.loss.reshape(1),
    }


def main(mvd):
    checksums = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name in ("mae", "videomae", "classifier"):
            reference = load_file(HERE.parent / "reference" / f"{name}.safetensors")
            written = convert(mvd, name, reference, pathlib.Path(folder))
            found = outputs(written, reference["input.video"], reference.get("input.mask"))
            save_file({key: value.contiguous() for key, value in found.items()}, HERE / f"{name}_io.safetensors")
            for file in ("config.json", "model.safetensors"):
                checksums[f"{name}/{file}"] = zlib.crc32((written / file).read_bytes())
    (HERE / "written.json").write_text(json.dumps(checksums, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
