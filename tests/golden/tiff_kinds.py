"""Writes TIFF files over sample types, compressions and layouts, and what tifffile (where it has no colours, Pillow) reads.

They go to crates/byol-data/tests/data/kinds/, with the samples in tiff.json: those of the file where they have 8 or 16 unsigned
bits, else 16-bit intensities over the range that is given. Run from the repository root.
"""

import io
import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from pictures import scene

FOLDER = Path("crates/byol-data/tests/data/kinds")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rgb = scene()
    grey = rgb[..., 1]
    tile, planes = {"tile": (16, 16)}, np.moveaxis(rgb, -1, 0)
    # name → array, options, range (None for the full one)
    written = {
        "big_endian_bigtiff.tif": (rgb, {"bigtiff": True, "byteorder": ">"}, None),
        "bigtiff.tif": (rgb, {"bigtiff": True}, None),
        "zstd.tif": (rgb, {"compression": "zstd", "predictor": 2}, None),
        "lzma.tif": (rgb, {"compression": "lzma"}, None),
        "packbits_planes.tif": (planes, {"compression": "packbits", "planarconfig": "separate"}, None),
        "lzw_tiles_16_bit.tif": (rgb.astype(np.uint16) * 257, {"compression": "lzw", "predictor": 2, "byteorder": ">", **tile}, None),
        "deflate_planes_tiles.tif": (planes, {"compression": "zlib", "predictor": 2, "planarconfig": "separate", **tile}, None),
        "signed_8.tif": ((grey.astype(int) - 128).astype(np.int8), {}, (-128, 127)),
        "signed_16.tif": ((grey.astype(int) * 10 - 1024).astype(np.int16), {"compression": "lzw", "predictor": 2}, (-1024, 1276)),
        "signed_32.tif": (grey.astype(np.int32) * -1000, {"byteorder": ">"}, (-255000, 0)),
        "unsigned_32.tif": (grey.astype(np.uint32) * 16843009, {**tile}, (0, 2**32 - 1)),
        "half.tif": ((grey / 255).astype(np.float16), {}, (0, 1)),
        "float.tif": ((rgb / 255).astype(np.float32), {"compression": "zlib", "predictor": 3}, (0, 1)),
        "float_tiles.tif": ((grey / 255).astype(np.float32), {"compression": "zstd", "predictor": 3, "byteorder": ">", **tile}, (0, 1)),
        "double.tif": (grey / 255.0, {"byteorder": ">"}, (0.1, 0.7)),
        "two_pages.tif": (np.stack([rgb, 255 - rgb]), {}, None),
    }
    expected = {}
    for name, (array, options, limits) in written.items():
        colour = array.ndim == 3 or name == "two_pages.tif"
        tifffile.imwrite(FOLDER / name, array, photometric="rgb" if colour else "minisblack", metadata=None, **options)
        read = tifffile.imread(FOLDER / name, key=0)
        if options.get("planarconfig"):
            read = np.moveaxis(read, 0, -1)
        if limits:
            low, high = limits
            read = np.rint((read.astype(float) - low).clip(0, high - low) / (high - low) * 65535).astype(int)
        expected[name] = {"value_range": limits and list(limits), "samples": read.flatten().tolist()}
    # Depths between bytes: whole range to whole range.
    for bits, of in [(4, 255), (12, 65535)]:
        name, array = f"{bits}_bit.tif", (grey >> 4) if bits == 4 else grey.astype(np.uint16) << 4
        tifffile.imwrite(FOLDER / name, array, bitspersample=bits, photometric="minisblack", metadata=None)
        expected[name] = {"value_range": None, "samples": np.rint(array.astype(float) * of / (2**bits - 1)).astype(int).flatten().tolist()}
    tifffile.imwrite(FOLDER / "white_is_zero.tif", grey.astype(np.uint16) * 257, photometric="miniswhite", metadata=None)
    expected["white_is_zero.tif"] = {"value_range": None, "samples": (65535 - grey.astype(int) * 257).flatten().tolist()}
    # What libtiff writes, as Pillow reads it.
    picture = Image.fromarray(rgb)
    black = picture.convert("1")
    for name, source, compression in [
        ("palette.tif", picture.quantize(16), "tiff_lzw"),
        ("jpeg_ycbcr.tif", picture.convert("YCbCr"), "jpeg"),
        ("jpeg_grey.tif", picture.convert("L"), "jpeg"),
        ("fax_4.tif", black, "group4"),
        ("one_bit.tif", black, "packbits"),
        ("cmyk_lzw.tif", picture.convert("CMYK"), "tiff_lzw"),
    ]:
        source.save(FOLDER / name, compression=compression)
        with Image.open(FOLDER / name) as read:
            pixels = np.asarray(read.convert("RGB" if read.mode not in ("L", "1") else "L"))
        expected[name] = {"value_range": None, "samples": pixels.flatten().tolist()}
    black.save(FOLDER / "fax_3.tif", compression="group3")
    tifffile.imwrite(FOLDER / "complex.tif", grey.astype(np.complex64), metadata=None)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "tiff.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
