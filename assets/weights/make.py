"""Makes the PyTorch checkpoints that tests read: python assets/weights/make.py (torch 2)."""
import argparse
import collections
import os
import torch

here = os.path.dirname(os.path.abspath(__file__))


def values(*shape):
    count = 1
    for s in shape:
        count *= s
    return (torch.arange(count, dtype=torch.float32) / 8 - 1).reshape(shape)


base = values(4, 6)
state = collections.OrderedDict(
    [
        ("blocks.0.weight", base),
        ("transposed", base.t()),
        ("tail", base[2:, 1:4]),
        ("half", values(3).half()),
        ("bfloat", values(3).bfloat16()),
        ("double", values(2, 2).double()),
        ("count", torch.tensor(7)),
        ("parameter", torch.nn.Parameter(values(5))),
        ("empty", torch.zeros(0, 3)),
    ]
)
args = argparse.Namespace(lr=1e-3, model="vit", betas=(0.9, 0.95), nested={"a": [1, 2.5, None, True]})
optimizer = {"state": {0: {"exp_avg": values(4, 6)}}, "param_groups": [{"lr": 0.1}]}
torch.save({"model": state, "optimizer": optimizer, "epoch": 3, "args": args}, os.path.join(here, "kinds.pth"))
