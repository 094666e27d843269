"""Expected values for crates/byol-data/tests/golden_augmentations.rs.

Run from the repository root with torch, torchvision, pillow and safetensors installed:

    python tests/golden/augmentations.py

Reads crates/byol-data/tests/data/astronaut_96x80.png and writes augmentations.safetensors beside it. The reference
semantics are written here in torch from the formulas of the paper and of the TensorFlow operations the reference
calls; the torchvision semantics call torchvision on float tensors. The Rust test holds the same parameters.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as F
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode

DATA = Path("crates/byol-data/tests/data")
SIZE = 40
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# top, left, height, width of the crops: one is enlarged, one is shrunk
ENLARGED = (21, 30, 25, 33)
SHRUNK = (3, 2, 76, 91)


def keys_matrix(length, size):
    """[size, length] weights: Keys cubic with a = -1/2, half-pixel centres, outside taps dropped, rows sum to 1."""
    a = -0.5
    rows = torch.zeros(size, length, dtype=torch.float64)
    for i in range(size):
        x = (i + 0.5) * length / size - 0.5
        for j in range(math.floor(x) - 1, math.floor(x) + 3):
            if 0 <= j < length:
                t = abs(x - j)
                if t <= 1:
                    rows[i, j] = (a + 2) * t**3 - (a + 3) * t**2 + 1
                elif t < 2:
                    rows[i, j] = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return rows / rows.sum(1, keepdim=True)


def rgb_to_hsv(x):
    r, g, b = x
    value, low = x.max(0).values, x.min(0).values
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    hue = torch.where(
        value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    )
    hue = torch.where(chroma > 0, torch.remainder(hue / 6, 1), torch.zeros_like(hue))
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, torch.ones_like(value)), 0 * value)
    return hue, saturation, value


def hsv_to_rgb(hue, saturation, value):
    out = []
    for n in (5, 3, 1):
        k = torch.remainder(n + hue * 6, 6)
        out.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(out)


class Reference:
    def resized_crop(self, image, top, left, height, width):
        crop = image[:, top : top + height, left : left + width].double()
        return (keys_matrix(height, SIZE) @ crop @ keys_matrix(width, SIZE).T).clamp(0, 1)

    def flip(self, x):
        return torch.flip(x, [2])

    def brightness(self, x, delta):
        return (x + delta).clamp(0, 1)

    def contrast(self, x, factor):
        mean = x.mean((1, 2), keepdim=True)
        return ((x - mean) * factor + mean).clamp(0, 1)

    def saturation(self, x, factor):
        hue, saturation, value = rgb_to_hsv(x)
        return hsv_to_rgb(hue, (saturation * factor).clamp(0, 1), value).clamp(0, 1)

    def hue(self, x, turns):
        hue, saturation, value = rgb_to_hsv(x)
        return hsv_to_rgb(torch.remainder(hue + turns, 1), saturation, value).clamp(0, 1)

    def grayscale(self, x):
        return (0.2989 * x[0] + 0.5870 * x[1] + 0.1140 * x[2]).expand(3, -1, -1)

    def blur(self, x, sigma):
        radius = int((SIZE / 10) / 2)
        k = torch.arange(-radius, radius + 1, dtype=x.dtype)
        kernel = torch.exp(-(k**2) / (2 * sigma**2))
        kernel = kernel / kernel.sum()
        planes = x.unsqueeze(1)
        planes = torch.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, radius))
        return torch.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(radius, 0)).squeeze(1)

    def solarise(self, x, threshold):
        return torch.where(x < threshold, x, 1 - x)


class Torchvision:
    def resized_crop(self, image, top, left, height, width):
        out = F.resized_crop(
            image, top, left, height, width, [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=True
        )
        # torchvision clips only 8-bit images; ours come from 8 bits and are clipped as those are.
        return out.clamp(0, 1)

    def flip(self, x):
        return F.hflip(x)

    def brightness(self, x, factor):
        return F.adjust_brightness(x, factor)

    def contrast(self, x, factor):
        return F.adjust_contrast(x, factor)

    def saturation(self, x, factor):
        return F.adjust_saturation(x, factor)

    def hue(self, x, turns):
        return F.adjust_hue(x, turns)

    def grayscale(self, x):
        return F.rgb_to_grayscale(x, num_output_channels=3)

    def blur(self, x, sigma):
        taps = 2 * int((SIZE / 10) / 2) + 1
        return F.gaussian_blur(x, [taps, taps], [sigma, sigma])

    def solarise(self, x, threshold):
        return F.solarize(x, threshold)


def evaluation(ops, image):
    """Crop then resize: the centre square of ⌊0.875·shorter side⌋."""
    _, height, width = image.shape
    side = math.floor(0.875 * min(height, width))
    return ops.resized_crop(image, (height - side + 1) // 2, (width - side + 1) // 2, side, side)


def torchvision_evaluation_text(image):
    """Resize then crop, the paper's text, by torchvision."""
    resized = F.resize(image, round(SIZE / 0.875), InterpolationMode.BICUBIC, antialias=True)
    return F.center_crop(resized.clamp(0, 1), [SIZE, SIZE])


def cases(ops, image, brightness):
    x = ops.resized_crop(image, *SHRUNK)
    yield "enlarged", ops.resized_crop(image, *ENLARGED)
    yield "shrunk", x
    yield "flip", ops.flip(x)
    yield "brightness", ops.brightness(x, brightness)
    yield "contrast", ops.contrast(x, 1.35)
    yield "saturation", ops.saturation(x, 1.2)
    yield "hue", ops.hue(x, -0.08)
    yield "grayscale", ops.grayscale(x)
    yield "blur", ops.blur(x, 1.3)
    yield "solarise", ops.solarise(x, 0.5)
    y = ops.flip(ops.resized_crop(image, *ENLARGED))
    y = ops.contrast(ops.hue(ops.saturation(ops.brightness(y, brightness), 0.85), 0.09), 0.7)
    y = ops.solarise(ops.blur(y, 0.9), 0.5).clamp(0, 1)
    yield "chain", F.normalize(y, MEAN, STD)
    yield "evaluation", evaluation(ops, image)


def main():
    pixels = np.asarray(Image.open(DATA / "astronaut_96x80.png").convert("RGB"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1).double() / 255
    tensors = {}
    for name, ops, brightness in (("reference", Reference(), 0.3), ("torchvision", Torchvision(), 1.3)):
        for case, out in cases(ops, image, brightness):
            tensors[f"{name}.{case}"] = out.permute(1, 2, 0).float().contiguous()
    text = torchvision_evaluation_text(image)
    tensors["torchvision.evaluation_text"] = text.permute(1, 2, 0).float().contiguous()
    save_file(tensors, DATA / "augmentations.safetensors")


if __name__ == "__main__":
    main()
