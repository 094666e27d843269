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


def rotate(x, degrees):
    """Counterclockwise, bilinear, the border reflected with its edge repeated: torch's own sampling."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    theta = torch.tensor([[c, -s, 0.0], [s, c, 0.0]], dtype=x.dtype).unsqueeze(0)
    grid = torch.nn.functional.affine_grid(theta, [1, *x.shape], align_corners=False)
    return torch.nn.functional.grid_sample(
        x.unsqueeze(0), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    ).squeeze(0)


def splitmix(*coordinates):
    """The first 64 bits and more of SplitMix64 at coordinates (seed, stream, epoch, item)."""
    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15

    def finish(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    def mix(z):
        return finish((z + golden) & mask)

    seed, *rest = coordinates
    state = mix(seed)
    for part in rest:
        state = mix(state ^ mix(part))
    while True:
        state = (state + golden) & mask
        yield finish(state)


def channel_jitter(x, strength, seed):
    out = []
    for channel, plane in enumerate(x):
        bits = splitmix(seed, 6, 0, channel)
        factor, offset = ((2 * (next(bits) >> 40) / 2**24 - 1) * strength for _ in range(2))
        out.append((plane * (1 + factor) + offset).clamp(0, 1))
    return torch.stack(out)


def lowbias32(x):
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def noise(x, std, seed):
    """Box and Muller: the cosine to the first half of a channel, the sine to its second half."""
    out = []
    for channel, plane in enumerate(x):
        keys = next(splitmix(seed, 7, 0, channel))
        place = np.arange(plane.numel() // 2, dtype=np.uint32) * np.uint32(0x9E3779B9)
        u = lowbias32(place + np.uint32(keys & 0xFFFFFFFF)) >> np.uint32(8)
        v = lowbias32(place + np.uint32(keys >> 32)) >> np.uint32(6)
        radius = std * np.sqrt(-2 * np.log((u + 0.5) / 2**24))
        quarter, share = v >> np.uint32(24), (v & np.uint32(0xFFFFFF)) / 2**24
        angle = (quarter + share - 0.5) * (np.pi / 2)
        z = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        out.append(plane + torch.from_numpy(z).view(plane.shape))
    return torch.stack(out).clamp(0, 1)


def erase(x, left, top, width, height):
    """torchvision's erasing, of a rectangle given as fractions of the view."""
    column, row = round(left * SIZE), round(top * SIZE)
    columns, rows = round((left + width) * SIZE) - column, round((top + height) * SIZE) - row
    return F.erase(x, row, column, rows, columns, torch.zeros(1, dtype=x.dtype))


def further_cases(ops, image):
    """What the paper does not do."""
    x = ops.resized_crop(image, *SHRUNK)
    if isinstance(ops, Reference):  # the same under both semantics
        yield "quarter_turn", torch.rot90(x, 1, (1, 2))
        yield "rotation", rotate(x, -160.0)
        yield "channel_jitter", channel_jitter(x, 0.25, 77)
        yield "noise", noise(x, 0.1, 78)
    y = rotate(torch.rot90(F.vflip(F.hflip(x)), 3, (1, 2)), 8.0)
    y = noise(ops.blur(channel_jitter(ops.contrast(y, 0.8), 0.1, 5), 0.9), 0.05, 6)
    yield "further_chain", erase(F.normalize(y, MEAN, STD), 0.5, 0.5, 0.4, 0.3)


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
    yield from further_cases(ops, image)


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
