"""Checks what `mvd convert --to hf` writes with transformers itself: python tests/load_in_transformers.py MVD MODEL_FOLDER...

Each folder holds config.json and model.safetensors; beside it lies FOLDER_io.safetensors with inputs and outputs. Wants
torch and transformers (pip install torch transformers).
"""

import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file


def outputs(folder, io):
    config = transformers.AutoConfig.from_pretrained(folder)
    model, loading = getattr(transformers, config.architectures[0]).from_pretrained(folder, output_loading_info=True)
    for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not loading[key], (folder, key, loading[key])
    model.eval()
    pixels = io["input.pixel_values"]
    with torch.no_grad():
        if config.model_type == "vit_mae":
            model.config.mask_ratio = model.vit.embeddings.config.mask_ratio = 0.0
            tokens = (config.image_size // config.patch_size) ** 2
            order = torch.arange(tokens).float().expand(len(pixels), tokens)
            return {"output.last_hidden_state": model.vit(pixels, noise=order).last_hidden_state}
        if "input.mask" in io:
            found = model(pixels, bool_masked_pos=io["input.mask"].bool())
            return {"output.logits": found.logits, "output.loss": found.loss.reshape(1)}
        return {"output.logits": model(pixels).logits}


def main(mvd, folders):
    for folder in folders:
        io = load_file(f"{folder.rstrip('/')}_io.safetensors")
        with tempfile.TemporaryDirectory() as written:
            subprocess.run([mvd, "convert", folder, written, "--to", "hf"], check=True, stdout=subprocess.DEVNULL)
            for name, found in outputs(written, io).items():
                error = ((found - io[name]).abs().max() / io[name].abs().max()).item()
                assert error <= 1e-5, (folder, name, error)
                print(f"{folder} {name}: {error:.1e} of the largest value")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
