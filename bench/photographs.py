#!/usr/bin/env python3
"""Draws pictures with the statistics of photographs, for the input benchmark: no photograph may be needed to repeat it.

usage: photographs.py FOLDER [COUNT]   (needs numpy, pillow; the same COUNT gives the same files)

Each is about 400×450 pixels and 23 KB of JPEG (quality 75, 4:2:0), like the validation pictures of ImageNet: a spectrum that
falls as 1/f, as natural images have it, in correlated colours; overlapping shapes with sharp edges, each with a gradient and
a texture of its own; sensor noise.
"""
import pathlib
import sys

import numpy as np
from PIL import Image

TARGET_BYTES = 23_000


def falling_spectrum(random, height, width, exponent):
    """Noise whose amplitude falls as 1/f^exponent, mean 0, deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) / frequency**exponent
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return noise / noise.std()


def layer(random, height, width):
    """A colour, a gradient across it and a texture in it."""
    y, x = np.mgrid[0:height, 0:width]
    angle = random.uniform(0, 2 * np.pi)
    gradient = (np.cos(angle) * x / width + np.sin(angle) * y / height) * random.uniform(0, 80)
    texture = falling_spectrum(random, height, width, random.uniform(0.8, 1.6)) * random.uniform(3, 19.5)
    chroma = falling_spectrum(random, height, width, 1.6) * random.uniform(1, 8)
    grey, tint = random.uniform(40, 200), random.normal(0, 22, 3)
    return np.stack([grey + tint[c] + gradient + texture + (c - 1) * chroma for c in range(3)], axis=-1)


def photograph(random):
    height, width = (int(side) for side in random.integers((360, 410), (440, 490)))
    y, x = np.mgrid[0:height, 0:width]
    picture = layer(random, height, width)
    for _ in range(random.integers(4, 12)):
        angle, (cy, cx) = random.uniform(0, np.pi), random.uniform(0, 1, 2) * (height, width)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        a, b = random.uniform(15, 160, 2)
        distance = np.hypot(u / a, v / b) if random.random() < 0.6 else np.maximum(abs(u) / a, abs(v) / b)
        # An edge one or a few pixels wide, as a lens gives it.
        cover = np.clip((1 - distance) * min(a, b) / random.uniform(1, 4) + 0.5, 0, 1)[..., None]
        picture = picture * (1 - cover) + layer(random, height, width) * cover
    picture += random.normal(0, random.uniform(0.5, 2.5), picture.shape)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for number in range(count):
        path = folder / f"{number:04}.jpg"
        photograph(np.random.default_rng(number)).save(path, quality=75)
        total += path.stat().st_size
    print(f"{count} pictures, {total / count:.0f} bytes on average (aim {TARGET_BYTES})")


main()
