"""Compares `mvd predict` and `mvd eval` with the official way of testing, 5 clips x 3 crops, in PyTorch: python tests/official_views.py MVD

Trains a tiny classifier, exports it as .pth, loads that into the small ViT below, cuts views of frames that ffmpeg decodes as
the official dataset does, and compares the mean of the views' softmax shares. Wants torch, numpy and the ffmpeg program. Run
by hand from the repository's root; not part of CI.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

CLIPS, CROPS = 5, 3
FRAMES, STRIDE, SIZE, PATCH, TUBELET = 8, 2, 48, 16, 2
DIM, DEPTH, HEADS = 64, 3, 2
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Wide, tall (turned) and with frames that follow each other out of order.
VIDEOS = ["baseline.mp4", "high_bframes.mp4", "turned_90.mp4", "bt709_full.mp4", "vp9.webm"]
# Percent points.
TOLERANCE = 0.1


def frames(path):
    """All frames of a video (T, H, W, 3), upright."""
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:V:0", "-fps_mode", "passthrough"]
    data = subprocess.run(command + ["-f", "image2pipe", "-c:v", "ppm", "-"], check=True, capture_output=True).stdout
    found, at = [], 0
    while at < len(data):
        magic, width, height, levels = data[at:at + 64].split(maxsplit=4)[:4]
        assert (magic, levels) == (b"P6", b"255"), (magic, levels)
        start = data.index(b"255\n", at) + 4
        at = start + int(width) * int(height) * 3
        found.append(np.frombuffer(data[start:at], np.uint8).reshape(int(height), int(width), 3))
    return np.stack(found)


def resized(buffer):
    """The short side is SIZE, by four neighbours and in whole levels, as cv2.resize with INTER_LINEAR."""
    height, width = buffer.shape[1:3]
    if min(height, width) == SIZE:
        return buffer
    if width < height:
        size = int(SIZE * height / width), SIZE
    else:
        size = SIZE, int(SIZE * width / height)
    planes = torch.from_numpy(buffer).permute(0, 3, 1, 2).float()
    planes = F.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return planes.round().clamp(0, 255).permute(0, 2, 3, 1).byte().numpy()


def views(video):
    """The test's views of a video as the official VideoClsDataset cuts them, (views, 3, T, SIZE, SIZE)."""
    index = list(range(0, len(video), STRIDE))
    while len(index) < FRAMES:
        index.append(index[-1])
    buffer = resized(video[index])
    spatial = 1.0 * (max(buffer.shape[1], buffer.shape[2]) - SIZE) / (CROPS - 1)
    temporal = max(1.0 * (buffer.shape[0] - FRAMES) / (CLIPS - 1), 0)
    found = []
    for chunk in range(CLIPS):
        for split in range(CROPS):
            t, s = int(chunk * temporal), int(split * spatial)
            if buffer.shape[1] >= buffer.shape[2]:
                view = buffer[t:t + FRAMES, s:s + SIZE, :, :]
            else:
                view = buffer[t:t + FRAMES, :, s:s + SIZE, :]
            found.append((view / 255.0 - MEAN) / STD)
    return torch.tensor(np.stack(found)).float().permute(0, 4, 1, 2, 3)


def sincos(dim, positions):
    omega = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double()[:, None] * omega[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def positions():
    """MVD's table: a quarter of the channels for time, the others for column and row."""
    times, side = FRAMES // TUBELET, SIZE // PATCH
    t, y, x = torch.meshgrid(torch.arange(times), torch.arange(side), torch.arange(side), indexing="ij")
    of_plane = 3 * DIM // 8
    parts = [sincos(DIM // 4, t.flatten()), sincos(of_plane, x.flatten()), sincos(of_plane, y.flatten())]
    return torch.cat(parts, 1).float()


def shares(weights, clips):
    """The classifier: a ViT on tubelets, the mean of its tokens, a norm and a head."""
    w = weights.get
    x = F.conv3d(clips, w("patch_embed.proj.weight"), w("patch_embed.proj.bias"), stride=(TUBELET, PATCH, PATCH))
    x = x.flatten(2).transpose(1, 2) + positions()
    norm = lambda x, name: F.layer_norm(x, (DIM,), w(f"{name}.weight"), w(f"{name}.bias"), 1e-6)
    linear = lambda x, name: F.linear(x, w(f"{name}.weight"), w(f"{name}.bias"))
    for i in range(DEPTH):
        b = f"blocks.{i}."
        bias = torch.cat([w(b + "attn.q_bias"), torch.zeros(DIM), w(b + "attn.v_bias")])
        qkv = F.linear(norm(x, b + "norm1"), w(b + "attn.qkv.weight"), bias)
        q, k, v = qkv.reshape(*x.shape[:2], 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        attention = (q * (DIM // HEADS) ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + linear(attention.transpose(1, 2).flatten(2), b + "attn.proj")
        x = x + linear(F.gelu(linear(norm(x, b + "norm2"), b + "mlp.fc1")), b + "mlp.fc2")
    return linear(norm(x.mean(1), "fc_norm"), "head").softmax(-1).mean(0)


def main():
    mvd = str(pathlib.Path(sys.argv[1]).resolve())
    run = lambda *args: subprocess.run([mvd, *map(str, args)], check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run("synth", folder / "set", "--count", "64", "--size", "48", "--frames", "24")
        run("finetune", "--recipe", "finetune-tiny", "--size", f"{DIM},{DEPTH},{HEADS}", "--frames", FRAMES, "--stride",
            STRIDE, "--input-size", SIZE, "--patch", PATCH, "--batch", "16", "--steps", "100", "--data",
            folder / "set/list.txt", "--out", folder / "run")
        run("convert", folder / "run", folder / "model.pth", "--to", "mvd")
        weights = torch.load(folder / "model.pth", weights_only=True)
        weights = weights.get("model", weights)
        videos = [pathlib.Path("assets/clips", name).resolve() for name in VIDEOS]
        with torch.no_grad():
            cut = [views(frames(video)) for video in videos]
            expected = [shares(weights, clips) for clips in cut]
            # What the comparison could not tell apart would prove nothing.
            alone = [shares(weights, clips[:1]) for clips in cut]
        spread = max(100 * float((mean - first).abs().max()) for mean, first in zip(expected, alone))
        print(f"the first view alone differs from the mean by up to {spread:.2f} points")
        assert spread > 2 * TOLERANCE, spread
        test = ("--clips", CLIPS, "--crops", CROPS, "--json")
        lines = run("predict", folder / "run", *videos, "--top", "10", *test).splitlines()
        worst = 0.0
        for video, line, right in zip(videos, lines, expected):
            found = {entry["class"]: entry["share"] for entry in json.loads(line)["classes"]}
            difference = max(abs(100 * (found[c] - float(share))) for c, share in enumerate(right))
            print(f"{video.name}: shares up to {100 * float(right.max()):.2f} %, differ by at most {difference:.4f} points")
            worst = max(worst, difference)
        # Labels: the class that PyTorch finds likeliest, but for the first video the one it finds least likely.
        labels = [int(right.argmin() if i == 0 else right.argmax()) for i, right in enumerate(expected)]
        (folder / "test.txt").write_text("".join(f"{video} {label}\n" for video, label in zip(videos, labels)))
        top1 = json.loads(run("eval", folder / "run", "--data", folder / "test.txt", *test))["top1"]
        print(f"mvd eval: top-1 {top1:.2f} %")
        assert worst < TOLERANCE, f"shares differ by {worst} points, allowed are {TOLERANCE}"
        assert abs(top1 - 100 * (len(videos) - 1) / len(videos)) < 1e-9, top1
        print(f"agree: at most {worst:.4f} percent points")


if __name__ == "__main__":
    main()
