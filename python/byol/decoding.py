"""Picture files, Pillow images and arrays → interleaved samples of 8 or 16 bits, as `byol` reads them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Tuple, Union

import numpy as np
from PIL import Image

from .description import Preparation
from .errors import PictureError
from .png16 import read_deep_png
from .value_range import intensities

#: What can be prepared: a path, the bytes of a file, a Pillow image, or an array `[height, width]` or `[height, width, channels]`.
Picture = Union[str, "os.PathLike[str]", bytes, Image.Image, np.ndarray]

_MAX_PIXELS = 178_956_970
_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
#: Modes of Pillow with 8 bits for which `byol` has a rule, by what they become.
_EIGHT_BITS = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA", "RGBa": "RGBA",
    "CMYK": "RGB", "YCbCr": "RGB",
}  # fmt: skip
_ARRAY_MARK = b"\x93NUMPY"
_PNG_MARK = b"\x89PNG\r\n\x1a\n"


def samples_of(picture: Picture, preparation: Preparation) -> np.ndarray:
    """The upright picture: `[height, width, channels]` of uint8 or uint16, full intensity 255 or 65535.

    Raises:
        PictureError: for what is no picture, or has no samples of the wanted channels.
    """
    if isinstance(picture, np.ndarray):
        return _of_array(picture, preparation)
    if isinstance(picture, Image.Image):
        return _of_image(picture, preparation)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return _of_file(io.BytesIO(picture), "the bytes given", preparation)
    if isinstance(picture, (str, os.PathLike)):
        try:
            with open(picture, "rb") as file:
                return _of_file(file, os.fspath(picture), preparation)
        except OSError as error:
            raise PictureError(f"{picture}: cannot be read: {error.strerror or error}") from error
    raise PictureError(f"expected a path, bytes, a Pillow image or a NumPy array, got {type(picture).__name__}")


def _of_file(file: BinaryIO, name: Any, preparation: Preparation) -> np.ndarray:
    head = file.read(len(_PNG_MARK))
    file.seek(0)
    try:
        if head.startswith(_ARRAY_MARK):
            return _of_array(np.load(file, allow_pickle=False), preparation)
        deep = read_deep_png(file.read(), _check_size) if head == _PNG_MARK else None
        file.seek(0)
        with Image.open(file) as image:
            if deep is not None:
                return _upright(_converted(deep, preparation), image, preparation)
            if preparation.channels == 1 and image.format in ("JPEG", "MPO"):
                # The luma of the file itself, of which `byol` computes no colours either.
                image.draft("L", None)
            return _of_image(image, preparation)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    # Pillow raises nearly anything for damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError) as error:
        raise PictureError(f"{name}: not a picture that Pillow reads: {error}") from error


def _of_image(image: Image.Image, preparation: Preparation) -> np.ndarray:
    _check_size(*image.size)
    return _upright(_converted(_samples(image, preparation), preparation), image, preparation)


def _check_size(width_px: int, height_px: int) -> None:
    if width_px * height_px == 0:
        raise PictureError(f"the picture is {width_px}×{height_px} pixels")
    if width_px * height_px > _MAX_PIXELS:
        raise PictureError(f"the picture is {width_px}×{height_px} pixels, more than {_MAX_PIXELS}")


def _samples(image: Image.Image, preparation: Preparation) -> np.ndarray:
    """The samples of the file, `[height, width, channels]`, before any range: uint8, uint16, or float64 without a range."""
    mode = image.mode
    tags = getattr(image, "tag_v2", None) or {}
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and (mode[0] in "IF" or preparation.value_range is not None):
        raise PictureError("a TIFF file in which 0 is white, with more than 8 bits or a range of values; give its array, turned")
    if mode in ("I", "F") and not (mode == "I" and image.format == "PNG"):
        return np.asarray(image, np.float64)[..., None]
    # Of a sample in a TIFF file.
    bits = int(np.max(tags.get(_BITS, 1))) if tags else None
    if mode == "I" or mode.startswith("I;16"):
        bits = bits or 16
        values = np.asarray(image).astype(np.uint16)[..., None]
        if bits < 16 and preparation.value_range is None:
            full = (1 << bits) - 1
            values = ((values.astype(np.uint32) * 65_535 + full // 2) // full).astype(np.uint16)
        return values
    if bits is not None and bits > 8:
        raise PictureError(
            f"TIFF colours of {bits} bits, which Pillow cuts to 8; save it as PNG, or read it with another "
            "library and give the array"
        )
    has_alpha = mode == "PA" or "transparency" in image.info
    if mode in ("P", "PA"):
        # Pillow reads grey TIFF and BMP files as palettes at times; either way the colours are these.
        return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    if has_alpha and preparation.channels == 4 and mode in ("1", "L", "RGB"):
        return np.asarray(image.convert("RGBA"))
    if mode not in _EIGHT_BITS:
        raise PictureError(f"pixels of Pillow's mode {mode!r}, which are not read; convert the picture to RGB")
    wanted = _EIGHT_BITS[mode]
    if mode == "YCbCr":
        return _from_ycbcr(np.asarray(image))
    values = np.asarray(image if mode == wanted else image.convert(wanted)).reshape(image.height, image.width, -1)
    if bits is not None and bits < 8 and preparation.value_range is not None:
        # A range is one of the numbers in a TIFF file, which Pillow has stretched to 8 bits.
        return values // (255 // ((1 << bits) - 1))
    return values


def _from_ycbcr(values: np.ndarray) -> np.ndarray:
    y, cb, cr = (values[..., place].astype(np.float64) - (128 if place else 0) for place in range(3))
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.floor(rgb + 0.5), 0, 255).astype(np.uint8)


def _of_array(values: np.ndarray, preparation: Preparation) -> np.ndarray:
    wanted = preparation.channels
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3:
        raise PictureError(f"expected an array [height, width] or [height, width, channels], got shape {values.shape}")
    if values.shape[0] == wanted and values.shape[2] != wanted:
        values = values.transpose(1, 2, 0)
    _check_size(values.shape[1], values.shape[0])
    if values.shape[2] == 0:
        raise PictureError("the array has no channels")
    if values.dtype.kind not in "uif":
        raise PictureError(f"expected an array of numbers, got {values.dtype}")
    # Arrays have no alpha where they have no range of their own.
    own_range = values.dtype.kind == "u" and values.dtype.itemsize <= 2
    return _converted(values if own_range else values.astype(np.float64), preparation, not own_range)


def _converted(samples: np.ndarray, preparation: Preparation, all_colours: bool = False) -> np.ndarray:
    """Applies `value_range` and changes the number of channels."""
    if preparation.value_range is not None:
        samples = intensities(samples, preparation.value_range, all_colours)
    elif samples.dtype.kind == "f":
        finite = samples[np.isfinite(samples)]
        between = f" (its values go from {finite.min():g} to {finite.max():g})" if finite.size else ""
        raise PictureError(
            f"samples without a range of their own{between}, for an encoder that was trained without data.value_range"
        )
    elif samples.dtype.itemsize == 2:
        samples = samples.astype(np.uint16)
    return _with_channels(samples, preparation.channels)


def _with_channels(samples: np.ndarray, wanted: int) -> np.ndarray:
    got = samples.shape[2]
    if got == wanted:
        return samples
    if got > 4 or wanted not in (1, 3, 4):
        raise PictureError(f"the picture has {got} channel(s), which do not become the {wanted} of the encoder")
    if wanted == 1:
        return samples[..., :1] if got <= 2 else _luma(samples)
    colours = np.repeat(samples[..., :1], 3, axis=2) if got <= 2 else samples[..., :3]
    if wanted == 3:
        return colours
    full = np.full_like(samples[..., :1], np.iinfo(samples.dtype).max)
    return np.concatenate([colours, samples[..., 1:2] if got == 2 else full], axis=2)


def _luma(samples: np.ndarray) -> np.ndarray:
    red, green, blue = (samples[..., place].astype(np.uint64) for place in range(3))
    return ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16).astype(samples.dtype)[..., None]


def _upright(samples: np.ndarray, image: Image.Image, preparation: Preparation) -> np.ndarray:
    orientation = image.getexif().get(_ORIENTATION) if preparation.exif_orientation else None
    turned = samples.transpose(1, 0, 2)
    views: "dict[Any, np.ndarray]" = {
        2: samples[:, ::-1], 3: samples[::-1, ::-1], 4: samples[::-1], 5: turned, 6: turned[:, ::-1],
        7: turned[::-1, ::-1], 8: turned[::-1],
    }  # fmt: skip
    return views.get(orientation, samples) if isinstance(orientation, int) else samples
