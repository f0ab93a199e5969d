#!/usr/bin/env python3
"""Makes roi.safetensors and roi.json: a detection head by torchvision's RoIAlign, which `mvd selftest` compares itself with.

Needs torch, torchvision and safetensors; run it only to change the reference.
"""
import json
import pathlib

import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file


def main():
    torch.manual_seed(11)
    samples, channels, height, width, classes = 3, 12, 5, 9, 7
    x = torch.randn(samples, channels, height, width, requires_grad=True)
    # Sample, then x1, y1, x2, y2 in pixels: samples without a box, boxes under a cell, at edges and outside.
    boxes = torch.tensor([[2, 3.0, 5.0, 141.0, 77.5], [0, 16.0, 16.0, 32.0, 32.0], [2, 100.0, 40.0, 103.0, 44.0],
                          [2, 120.5, 60.0, 143.0, 79.0], [0, -30.0, -9.0, 60.0, 30.0], [2, 130.0, 2.0, 180.0, 90.0]])
    head = {"weight": torch.randn(classes, channels, requires_grad=True), "bias": torch.randn(classes, requires_grad=True)}
    bins = torchvision.ops.roi_align(x, boxes, 7, spatial_scale=1 / 16, sampling_ratio=0, aligned=False)
    pooled = bins.amax((2, 3))
    logits = F.linear(pooled, head["weight"], head["bias"])
    labels = (torch.rand(len(boxes), classes) < 0.3).float()
    loss = F.binary_cross_entropy_with_logits(logits, labels) * len(boxes)
    loss.backward()
    tensors = {"map": x, "boxes": boxes, "pooled_bins": bins, "pooled": pooled, "logits": logits, "labels": labels,
               "grad.map": x.grad}
    for name, tensor in head.items():
        tensors |= {f"head.{name}": tensor, f"grad.head.{name}": tensor.grad}
    here = pathlib.Path(__file__).parent
    save_file({n: t.detach().contiguous() for n, t in tensors.items()}, here / "roi.safetensors")
    (here / "roi.json").write_text(json.dumps({"loss": loss.item()}) + "\n")


main()
