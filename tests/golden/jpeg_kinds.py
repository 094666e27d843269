"""Writes JPEG and PNG files of kinds that decoders get wrong, and what Pillow reads from them.

They go to crates/byol-data/tests/data/kinds/, with the RGB values in jpeg.json. Run from the repository root.
"""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from jpeg_files import JFIF, adobe, encode, exif_orientation, ycbcr
from pictures import scene

FOLDER = Path("crates/byol-data/tests/data/kinds")

SAMPLINGS = {
    "444": [(1, 1), (1, 1), (1, 1)],
    "420": [(2, 2), (1, 1), (1, 1)],
    "422": [(2, 1), (1, 1), (1, 1)],
    "440": [(1, 2), (1, 1), (1, 1)],
    "411": [(4, 1), (1, 1), (1, 1)],
    "3x1": [(3, 1), (1, 1), (1, 1)],
    "fine_chroma": [(1, 1), (2, 1), (2, 1)],
    "equal_2x1": [(2, 1), (2, 1), (2, 1)],
}
EACH, TWO = [[0], [1], [2]], [[0], [1, 2]]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    rgb = scene()
    planes = ycbcr(rgb)
    plain = [rgb[..., channel].astype(float) for channel in range(3)]
    ink = [255 - plane for plane in plain] + [np.full(rgb.shape[:2], 200.0)]
    files = {f"each_scan_{name}.jpg": encode(planes, factors, scans=EACH) for name, factors in SAMPLINGS.items()}
    files |= {
        "two_scans_420.jpg": encode(planes, SAMPLINGS["420"], scans=TWO, restart=2),
        "each_scan_420_progressive.jpg": encode(planes, SAMPLINGS["420"], scans=EACH, progressive=True),
        "one_scan_3x1.jpg": encode(planes, SAMPLINGS["3x1"]),
        "one_scan_fine_chroma.jpg": encode(planes, SAMPLINGS["fine_chroma"]),
        "grey_3x1.jpg": encode(planes[:1], [(3, 1)]),
        "three_columns_420.jpg": encode([plane[:, :3] for plane in planes], SAMPLINGS["420"]),
        "two_rows_420.jpg": encode([plane[:2] for plane in planes], SAMPLINGS["420"]),
        "jfif_adobe_0.jpg": encode(planes, SAMPLINGS["444"], markers=JFIF + adobe(0)),
        "adobe_0.jpg": encode(plain, SAMPLINGS["444"], markers=adobe(0)),
        "named_rgb.jpg": encode(plain, SAMPLINGS["444"], markers=b"", ids=b"RGB"),
        "named_rgb_jfif.jpg": encode(planes, SAMPLINGS["444"], ids=b"RGB"),
        "named_rgb_adobe_1.jpg": encode(planes, SAMPLINGS["444"], markers=adobe(1), ids=b"RGB"),
        "cmyk_without_adobe.jpg": encode(ink, [(1, 1)] * 4, markers=b"", scans=[*EACH, [3]]),
        "ycck_420.jpg": encode(ink, [(2, 2), (1, 1), (1, 1), (2, 2)], markers=adobe(2), progressive=True),
        "adobe_1_four_components.jpg": encode(ink, [(1, 1)] * 4, markers=adobe(1)),
    }
    whole = files["two_scans_420.jpg"]
    files["no_end.jpg"] = whole[:-2]
    files["no_end_progressive.jpg"] = files["each_scan_420_progressive.jpg"][:-2]
    files["after_the_end.jpg"] = whole + b"\0\0\xff\xd8 more"
    png = io.BytesIO()
    Image.fromarray(rgb).save(png, "PNG")
    files["no_end.png"] = png.getvalue()[:-12]
    picture = Image.fromarray(rgb)
    for kind, order, value in [("LONG", "<", 6), ("LONG", ">", 8), ("SHORT", ">", 5), ("SHORT", "<", 2)]:
        exif = exif_orientation(value, kind, order)
        for name, options in {"png": {}, "webp": {"lossless": True}, "jpg": {"quality": 95}}.items():
            out = io.BytesIO()
            picture.save(out, {"jpg": "JPEG"}.get(name, name), exif=b"Exif\0\0" * (name == "jpg") + exif, **options)
            files[f"turned_{value}_{kind.lower()}.{name}"] = out.getvalue()
    expected = {}
    # The switch with which Pillow reads what lacks its end.
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    for name, content in files.items():
        (FOLDER / name).write_bytes(content)
        with Image.open(io.BytesIO(content)) as read:
            pixels = np.asarray(ImageOps.exif_transpose(read).convert("RGB"))
        height, width, _ = pixels.shape
        tolerance = 4 if name.endswith(".jpg") else 0
        expected[name] = {"width_px": width, "height_px": height, "tolerance": tolerance, "rgb": pixels.flatten().tolist()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "jpeg.json").write_text(f"{{\n{lines}\n}}\n")
    # What is no longer read: Huffman codes behind the mark of arithmetic ones, and bits of a scan that are others.
    (FOLDER / "arithmetic.jpg").write_bytes(encode(planes, SAMPLINGS["444"], frame=0xC9))
    (FOLDER / "lossless.jpg").write_bytes(encode(planes, SAMPLINGS["444"], frame=0xC3))
    (FOLDER / "12_bit.jpg").write_bytes(encode([planes[0] * 16], [(1, 1)], bits=12))
    damaged = bytearray(whole)
    start = whole.index(b"\xff\xda") + 30
    damaged[start : start + 16] = bytes(range(17, 33))
    (FOLDER / "hole.jpg").write_bytes(bytes(damaged))


if __name__ == "__main__":
    main()
