"""Picture files of odd sizes, modes, formats and orientations."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
from PIL import Image

#: Width and height.
SIZES = [
    (333, 500), (1, 1), (640, 481), (100, 75), (1, 37), (53, 1), (31, 33), (224, 224), (2, 3), (7, 200), (32, 32), (457, 123),
    (256, 341), (5, 5), (1000, 667), (65, 64), (47, 300), (500, 375),
]  # fmt: skip


def scene(width: int, height: int, random: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of photographs (amplitude 1/f) in three correlated channels, `[height, width, 3]` of uint8."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / max(width, height))
    planes = [np.fft.ifft2(np.fft.fft2(random.normal(size=(height, width))) * amplitude).real for _ in range(3)]
    grey, others = planes[0], planes[1:]
    colours = np.stack([grey, grey + 0.4 * others[0], grey + 0.4 * others[1]], axis=-1)
    spread = colours.std() or 1.0
    return np.clip(128 + 60 * (colours - colours.mean()) / spread, 0, 255).round().astype(np.uint8)


def write_deep_png(path: Path, values: np.ndarray, interlaced: bool = False) -> None:
    """Writes `[height, width, channels]` of uint16, rows with each of PNG's filters in turn."""
    height, width, channels = values.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b"".join(
        _filtered(values[top::down, left::right]) for top, left, down, right in passes if top < height and left < width
    )
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, int(interlaced))
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def _filtered(values: np.ndarray) -> bytes:
    height, width, channels = values.shape
    rows = np.frombuffer(values.astype(">u2").tobytes(), np.uint8).reshape(height, width * channels * 2).astype(int)
    step = channels * 2
    above = np.zeros_like(rows[0])
    out = []
    for place, row in enumerate(rows):
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        corner = np.concatenate([np.zeros(step, int), above[:-step]])
        guess = left + above - corner
        away = np.stack([abs(guess - left), abs(guess - above), abs(guess - corner)])
        paeth = np.choose(away.argmin(axis=0), [left, above, corner])
        kind = place % 5
        predicted = [np.zeros_like(row), left, above, (left + above) // 2, paeth][kind]
        out.append(bytes([kind]) + ((row - predicted) & 255).astype(np.uint8).tobytes())
        above = row
    return b"".join(out)


Writer = Callable[[Path, Image.Image, np.random.Generator], None]


def _plain(mode: str, **options: Any) -> Writer:
    return lambda path, picture, random: picture.convert(mode).save(path, **options)


def _turned(orientation: int, **options: Any) -> Writer:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda path, picture, random: picture.save(path, exif=exif, **options)


def _with_alpha(mode: str, **options: Any) -> Writer:
    def write(path: Path, picture: Image.Image, random: np.random.Generator) -> None:
        alpha = Image.fromarray(random.integers(0, 256, (picture.height, picture.width)).astype(np.uint8))
        colours = picture.convert(mode[:-1])
        Image.merge(mode, (*colours.split(), alpha)).save(path, **options)

    return write


def _palette(colours: int = 61, **options: Any) -> Writer:
    return lambda path, picture, random: picture.quantize(colours).save(path, **options)


def _deep(channels: int, interlaced: bool = False) -> Writer:
    def write(path: Path, picture: Image.Image, random: np.random.Generator) -> None:
        fine = random.integers(0, 256, (picture.height, picture.width, 4))
        values = np.asarray(picture.convert("RGBA")).astype(int) * 256 + fine
        write_deep_png(path, values[..., :channels].astype(np.uint16), interlaced)

    return write


def _sixteen_bit_tiff(path: Path, picture: Image.Image, random: np.random.Generator) -> None:
    fine = random.integers(0, 256, (picture.height, picture.width))
    Image.fromarray((np.asarray(picture.convert("L")).astype(int) * 256 + fine).astype(np.uint16)).save(path)


#: Name → ending and how it is written.
KINDS: Dict[str, Tuple[str, Writer]] = {
    "rgb": ("png", _plain("RGB")),
    "grey": ("png", _plain("L")),
    "grey_alpha": ("png", _with_alpha("LA")),
    "rgb_alpha": ("png", _with_alpha("RGBA")),
    "palette": ("png", _palette()),
    "palette_transparent": ("png", _palette(transparency=5)),
    "palette_4_bits": ("png", _palette(bits=4, colours=16)),
    "one_bit": ("png", _plain("1")),
    "grey_transparent": ("png", _plain("L", transparency=100)),
    "grey_16": ("png", _deep(1)),
    "grey_alpha_16": ("png", _deep(2)),
    "rgb_16": ("png", _deep(3)),
    "rgb_16_interlaced": ("png", _deep(3, interlaced=True)),
    "rgb_alpha_16": ("png", _deep(4)),
    "png_turned": ("png", _turned(6)),
    "tiff_lzw": ("tif", _plain("RGB", compression="tiff_lzw")),
    "tiff_grey_16": ("tif", _sixteen_bit_tiff),
    "tiff_cmyk": ("tif", _plain("CMYK")),
    "tiff_turned": ("tif", _turned(5)),
    "tiff_palette": ("tif", _palette()),
    "tiff_one_bit": ("tif", _plain("1")),
    "tiff_grey_alpha": ("tif", _with_alpha("LA")),
    "tiff_ycbcr": ("tif", _plain("YCbCr")),
    "bmp": ("bmp", _plain("RGB")),
    "bmp_palette": ("bmp", _palette()),
    "gif": ("gif", _palette()),
    "gif_transparent": ("gif", _palette(transparency=5)),
    "webp_lossless": ("webp", _with_alpha("RGBA", lossless=True, exact=True)),
    "jpeg_420": ("jpg", _plain("RGB", quality=90)),
    "jpeg_444": ("jpg", _plain("RGB", quality=95, subsampling=0)),
    "jpeg_422": ("jpg", _plain("RGB", quality=80, subsampling=1)),
    "jpeg_progressive": ("jpg", _plain("RGB", quality=85, progressive=True)),
    "jpeg_grey": ("jpg", _plain("L", quality=90)),
    "jpeg_cmyk": ("jpg", _plain("CMYK", quality=90)),
    **{f"jpeg_turned_{turn}": ("jpg", _turned(turn, quality=92)) for turn in range(1, 9)},
    "webp_lossy": ("webp", _plain("RGB", quality=85)),
    "webp_turned": ("webp", _turned(8, quality=90)),
}


def write_pictures(folder: Path, count: int, sources: Optional[List[Path]] = None) -> Iterator[Tuple[Path, str]]:
    """Writes `count` pictures and gives each file with its kind; of `sources`, resampled to odd sizes, or drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(17)
    kinds = list(KINDS)
    for place in range(count):
        kind = kinds[place % len(kinds)]
        width, height = SIZES[(place * 7 + place // len(kinds)) % len(SIZES)]
        ending, write = KINDS[kind]
        path = folder / f"{place:03}_{kind}_{width}x{height}.{ending}"
        write(path, _picture(width, height, place, sources, random), random)
        yield path, kind


def _picture(
    width: int, height: int, place: int, sources: Optional[List[Path]], random: np.random.Generator
) -> Image.Image:
    if not sources:
        return Image.fromarray(scene(width, height, random))
    with Image.open(sources[place % len(sources)]) as source:
        return source.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
