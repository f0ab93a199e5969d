#!/usr/bin/env python3
"""Makes ops.png and ops.txt: what PIL makes of one image, by every operation of timm's RandAugment, and what
arguments timm gives them. Needs pillow, numpy and timm's auto_augment.py (which needs no torch):
    make.py .../timm/data/auto_augment.py
Run it only to change the cases."""
import importlib.util
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

spec = importlib.util.spec_from_file_location("auto_augment", sys.argv[1])
timm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timm)
here = Path(__file__).parent
width, height = 41, 33


def picture():
    """Waves, a disc with a hard edge, noise, and a dark flat corner."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width].astype(float)
    waves = np.stack([np.sin(x / 5 + c) * 50 + np.cos(y / (4 + c)) * 40 + 110 for c in range(3)], -1)
    waves[(x - 26) ** 2 + (y - 14) ** 2 < 80] = (240, 60, 20)
    waves += rng.normal(0, 9, waves.shape)
    waves[22:, :14] = (31, 40, 37)
    return Image.fromarray(np.clip(waves, 12, 243).astype(np.uint8))


CASES = [
    ("AutoContrast", []), ("Equalize", []), ("Invert", []),
    ("Rotate", [21.0]), ("Rotate", [-7.5]), ("Rotate", [0.0]),
    ("PosterizeIncreasing", [4]), ("PosterizeIncreasing", [2]), ("PosterizeIncreasing", [1]),
    ("SolarizeIncreasing", [77]), ("SolarizeIncreasing", [256]), ("SolarizeIncreasing", [0]),
    ("SolarizeAdd", [77]), ("SolarizeAdd", [110]),
    ("ColorIncreasing", [0.37]), ("ColorIncreasing", [1.63]),
    ("ContrastIncreasing", [0.37]), ("ContrastIncreasing", [1.63]),
    ("BrightnessIncreasing", [0.37]), ("BrightnessIncreasing", [1.63]),
    ("SharpnessIncreasing", [0.1]), ("SharpnessIncreasing", [1.9]),
    ("ShearX", [0.21]), ("ShearX", [-0.3]), ("ShearY", [0.21]), ("ShearY", [-0.3]),
    ("TranslateXRel", [0.315]), ("TranslateXRel", [-0.1]),
    ("TranslateYRel", [0.315]), ("TranslateYRel", [-0.1]),
]

image = picture()
rows, lines = [image], []
for name, args in CASES:
    made = timm.NAME_TO_OP[name](image, *args, fillcolor=(128, 128, 128), resample=Image.BICUBIC)
    rows.append(made)
    lines.append(f"pixels {name} {' '.join(map(str, args))}".strip())
strip = Image.new("RGB", (width, height * len(rows)))
for i, row in enumerate(rows):
    strip.paste(row, (0, i * height))
strip.save(here / "ops.png", optimize=True)

# Arguments at magnitudes, without and with the random turn of sign.
for name in timm._RAND_INCREASING_TRANSFORMS:
    level = timm.LEVEL_TO_ARG[name]
    for magnitude in [0, 3.3, 7, 10]:
        for sign, drawn in [("+", 0.0), ("-", 1.0)]:
            random.random = lambda: drawn
            args = level(magnitude, {}) if level else ()
            lines.append(f"level {name} {magnitude} {sign} {' '.join(map(str, args))}".strip())
(here / "ops.txt").write_text("\n".join(lines) + "\n")
