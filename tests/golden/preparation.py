"""Golden values of the input preparation, written from docs/preparation.md alone, in Python's own numbers.

Every case is a picture of a formula, so that the file holds only what comes out: a number after the other, float32, in the order
of `CASES`. Run from the repository root with Python alone.
"""

import math
import struct
from fractions import Fraction
from pathlib import Path

OUT = Path("crates/byol-data/tests/data/preparation.bin")

#: Width, height, channels, largest sample, size_px, crop_fraction, crop first, antialias.
CASES = [
    (96, 80, 3, 255, 12, 0.875, True, False),
    (96, 80, 3, 255, 12, 0.875, True, True),
    (96, 80, 3, 255, 12, 0.875, False, False),
    (96, 80, 3, 255, 12, 0.875, False, True),
    (41, 33, 3, 255, 9, 0.9, True, False),
    (33, 42, 1, 65535, 9, 0.9, True, True),
    (33, 42, 4, 65535, 10, 0.7, False, True),
    (10, 30, 3, 255, 7, 0.9, True, False),
    (10, 30, 3, 255, 7, 0.9, False, True),
    (5, 5, 3, 255, 16, 1.0, True, True),
    (6, 5, 3, 255, 16, 0.51, False, False),
    (3, 2, 3, 255, 8, 1.0, False, True),
    (1, 37, 3, 255, 6, 0.875, True, True),
    (53, 1, 3, 255, 6, 0.875, False, False),
    (1, 1, 3, 255, 5, 0.01, True, True),
    (7, 200, 2, 65535, 11, 0.6, False, True),
]


def f32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def sample(x: int, y: int, channel: int, largest: int) -> int:
    return (x * 37 + y * 101 + x * y * 13 + channel * 59 + x * x * 7) * (largest // 255) % (largest + 1)


def half_even(value: Fraction) -> int:
    return round(value)


def cubic(x: float) -> float:
    x, a = abs(x), -0.5
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def axis(length: int, resized: int, first: int, count: int, antialias: bool) -> list:
    """For each output, the weights of all inputs."""
    scale = length / resized
    stretch = max(scale, 1.0) if antialias else 1.0
    rows = []
    for output in range(first, first + count):
        centre = (output + 0.5) * scale
        weights = [cubic((place + 0.5 - centre) / stretch) for place in range(length)]
        rows.append([weight / sum(weights) for weight in weights])
    return rows


def prepared(width, height, channels, largest, size, fraction, crop_first, antialias) -> list:
    fraction = f32(fraction)
    shorter = min(width, height)
    if crop_first:
        side = max(math.floor(fraction * shorter), 1)
        left, top = math.ceil(Fraction(width - side, 2)), math.ceil(Fraction(height - side, 2))
        columns, rows = axis(side, size, 0, size, antialias), axis(side, size, 0, size, antialias)
    else:
        side = max(half_even(Fraction(size / fraction)), size)
        left = top = 0
        wide, high = width * side // shorter, height * side // shorter
        columns = axis(width, wide, half_even(Fraction(wide - size, 2)), size, antialias)
        rows = axis(height, high, half_even(Fraction(high - size, 2)), size, antialias)
    out = []
    for row in rows:
        for column in columns:
            for channel in range(channels):
                value = sum(
                    down * across * sample(left + x, top + y, channel, largest)
                    for y, down in enumerate(row)
                    if down
                    for x, across in enumerate(column)
                    if across
                )
                mean, std = f32(0.1 * (channel + 1)), f32(0.2 + 0.05 * channel)
                out.append((min(max(value / largest, 0.0), 1.0) - mean) / std)
    return out


def main() -> None:
    values = [value for case in CASES for value in prepared(*case)]
    OUT.write_bytes(struct.pack(f"<{len(values)}f", *values))
    print(f"{OUT}: {len(values)} values")


if __name__ == "__main__":
    main()
