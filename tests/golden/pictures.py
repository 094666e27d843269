"""Writes the small picture files that the decoder of byol-data is tested on.

Each file goes to crates/byol-data/tests/data/pictures/, and expected.json holds the RGB values that Pillow reads from
it, with the tolerance (largest difference of a value, of 255) that the kind of file deserves. Run from the repository
root with Pillow and numpy; tests need neither.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path("crates/byol-data/tests/data/pictures")


def scene(width: int = 16, height: int = 12) -> np.ndarray:
    """A smooth picture without symmetry, so that a wrong orientation or channel order shows. [height, width, 3] u8."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    planes = [40 + 180 * x, 30 + 190 * y * x, 220 - 150 * y]
    return np.stack(planes, axis=-1).round().astype(np.uint8)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rgb = scene()
    picture = Image.fromarray(rgb)
    grey = picture.convert("L")
    alpha = Image.fromarray(np.linspace(255, 60, rgb.shape[0] * rgb.shape[1]).reshape(rgb.shape[:2]).astype(np.uint8))
    sixteen = (np.asarray(grey).astype(np.uint16) * 257).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90° clockwise
    files = {
        "baseline.jpg": (picture, {"quality": 90, "subsampling": 2}, 3),
        "progressive.jpg": (picture, {"quality": 90, "progressive": True}, 3),
        "restart_markers.jpg": (picture, {"quality": 90, "restart_marker_blocks": 1}, 3),
        "grey.jpg": (grey, {"quality": 90}, 3),
        "cmyk.jpg": (picture.convert("CMYK"), {"quality": 95}, 3),
        "ycck.jpg": (picture.convert("CMYK"), {"quality": 95}, 3),
        "rotated.jpg": (picture, {"quality": 90, "exif": exif}, 3),
        "rgb.png": (picture, {}, 0),
        "grey_16_bit.png": (Image.fromarray(sixteen), {}, 0),
        "grey_alpha.png": (Image.merge("LA", (grey, alpha)), {}, 0),
        "rgb_alpha.png": (Image.merge("RGBA", (*picture.split(), alpha)), {}, 0),
        "palette.png": (picture.quantize(16), {}, 0),
        "one_bit.png": (grey.convert("1"), {}, 0),
        "interlaced.gif": (picture.quantize(16), {"interlace": 1}, 0),
        "animated.gif": (picture.quantize(16), {"save_all": True, "append_images": [picture.rotate(180).quantize(16)]}, 0),
        "lzw.tif": (picture, {"compression": "tiff_lzw"}, 0),
        "deflate.tif": (picture, {"compression": "tiff_adobe_deflate"}, 0),
        "cmyk.tif": (picture.convert("CMYK"), {}, 1),
        "rgb.bmp": (picture, {}, 0),
        "palette.bmp": (picture.quantize(16), {}, 0),
        "lossy.webp": (picture, {"quality": 90}, 3),
        "lossless_alpha.webp": (Image.merge("RGBA", (*picture.split(), alpha)), {"lossless": True, "exact": True}, 0),
        "one_pixel.png": (picture.crop((3, 5, 4, 6)), {}, 0),
    }
    expected = {}
    for name, (source, options, tolerance) in files.items():
        source.save(FOLDER / name, **options)
        if name == "ycck.jpg":
            # Pillow writes CMYK only; the Adobe marker's last byte says how the four channels are to be understood.
            data = (FOLDER / name).read_bytes()
            at = data.index(b"Adobe") + 11
            (FOLDER / name).write_bytes(data[:at] + b"\x02" + data[at + 1 :])
        with Image.open(FOLDER / name) as read:
            if name == "grey_16_bit.png":
                # Pillow clips 16-bit grey instead of scaling it, so the expectation comes from the source.
                pixels = np.repeat(np.asarray(grey)[..., None], 3, axis=-1)
            else:
                pixels = np.asarray(ImageOps.exif_transpose(read).convert("RGB"))
        height, width, _ = pixels.shape
        expected[name] = {"width_px": width, "height_px": height, "tolerance": tolerance, "rgb": pixels.flatten().tolist()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "expected.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
