"""A plain JPEG encoder for files that no common program writes: any sampling, any order of scans, any markers.

Written from ITU-T T.81 with the tables of its annex K, without speed in mind. It only has to write valid files; what is in
them is what Pillow reads.
"""

import struct
from collections.abc import Sequence

import numpy as np

QUANTISER = 4 + np.add.outer(np.arange(8), np.arange(8))

ZIGZAG = sorted(((y, x) for y in range(8) for x in range(8)), key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))

DC_COUNTS = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
DC_VALUES = list(range(12))


def huffman(counts: Sequence[int], values: Sequence[int]) -> dict[int, str]:
    codes, code, at = {}, 0, 0
    for length, count in enumerate(counts, 1):
        for _ in range(count):
            codes[values[at]] = format(code, f"0{length}b")
            code, at = code + 1, at + 1
        code *= 2
    return codes


# Every symbol of the coefficients with eight or nine bits: longer than those of annex K, and simpler.
AC_VALUES = [run << 4 | size for run in range(16) for size in range(16)]
AC_COUNTS = [0, 0, 0, 0, 0, 0, 0, 254, 2, 0, 0, 0, 0, 0, 0, 0]
AC_COUNTS = [0] * 7 + [200, 56] + [0] * 7
DC_CODES, AC_CODES = huffman(DC_COUNTS, DC_VALUES), huffman(AC_COUNTS, AC_VALUES)

COSINES = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (np.sqrt(0.5) if u == 0 else 1) / 2 for x in range(8)] for u in range(8)])


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def exif_orientation(value: int, kind: str = "SHORT", order: str = "<") -> bytes:
    """The content of an EXIF block (TIFF) that holds an orientation, as SHORT or LONG."""
    field = struct.pack(order + "HHI", 0x0112, {"SHORT": 3, "LONG": 4, "BYTE": 1}[kind], 1)
    field += struct.pack(order + {"SHORT": "HH", "LONG": "I", "BYTE": "BBBB"}[kind], *([value] + [0] * {"SHORT": 1, "LONG": 0, "BYTE": 3}[kind]))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + struct.pack(order + "H", 1) + field + bytes(4)


class Bits:
    def __init__(self) -> None:
        self.text: list[str] = []

    def value(self, value: int, size: int) -> None:
        if size:
            self.text.append(format(value if value >= 0 else value + (1 << size) - 1, f"0{size}b"))

    def bytes(self) -> bytes:
        text = "".join(self.text)
        text += "1" * (-len(text) % 8)
        data = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
        return data.replace(b"\xff", b"\xff\0")


def blocks_of(plane: np.ndarray, offset: int, quantiser: np.ndarray) -> np.ndarray:
    """Quantised coefficients in zigzag order, [rows, columns, 64]; the plane has whole blocks."""
    height, width = plane.shape
    tiles = (plane - offset).reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3)
    coefficients = np.rint(COSINES @ tiles @ COSINES.T / quantiser).astype(int)
    return np.stack([coefficients[..., y, x] for y, x in ZIGZAG], axis=-1)


def encode(
    planes: Sequence[np.ndarray],
    sampling: Sequence[tuple[int, int]],
    *,
    scans: Sequence[Sequence[int]] | None = None,
    markers: bytes = JFIF,
    ids: Sequence[int] | None = None,
    restart: int = 0,
    progressive: bool = False,
    bits: int = 8,
    end: bytes = b"\xff\xd9",
    frame: int | None = None,
) -> bytes:
    """Planes of equal size (each component at full size; it is averaged down), a factor (h, v) for each."""
    height, width = planes[0].shape
    most_h, most_v = max(h for h, _ in sampling), max(v for _, v in sampling)
    mcus_x, mcus_y = -(-width // (8 * most_h)), -(-height // (8 * most_v))
    ids = list(ids or range(1, len(planes) + 1))
    coefficients, sizes = [], []
    for plane, (h, v) in zip(planes, sampling):
        # Repeat the border, then take averages (or repeat where the factor is no whole number).
        full = np.pad(plane.astype(float), ((0, mcus_y * 8 * most_v - height), (0, mcus_x * 8 * most_h - width)), "edge")
        full = full.repeat(v, axis=0).repeat(h, axis=1)
        full = full.reshape(mcus_y * 8 * v, most_v, mcus_x * 8 * h, most_h).mean(axis=(1, 3))
        coefficients.append(blocks_of(full, 1 << (bits - 1), QUANTISER * (1 << (bits - 8))))
        sizes.append((-(-(-(-width * h // most_h)) // 8), -(-(-(-height * v // most_v)) // 8)))
    out = b"\xff\xd8" + markers
    quantiser = QUANTISER * (1 << (bits - 8))
    table = [int(quantiser[y, x]) for y, x in ZIGZAG]
    out += segment(0xDB, b"\0" + bytes(table)) if bits == 8 else segment(0xDB, b"\x10" + struct.pack(">64H", *table))
    frame = frame or (0xC2 if progressive else 0xC0 if bits == 8 else 0xC1)
    out += segment(
        frame,
        struct.pack(">BHHB", bits, height, width, len(planes))
        + b"".join(bytes([i, h << 4 | v, 0]) for i, (h, v) in zip(ids, sampling)),
    )
    dc_values, dc_counts = (DC_VALUES, DC_COUNTS) if bits == 8 else (list(range(16)), [0, 0, 0, 15, 1] + [0] * 11)
    dc_codes = huffman(dc_counts, dc_values)
    out += segment(0xC4, b"\0" + bytes(dc_counts) + bytes(dc_values))
    out += segment(0xC4, b"\x10" + bytes(AC_COUNTS) + bytes(AC_VALUES))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    scans = scans or [list(range(len(planes)))]
    passes = [(members, 0, 63) for members in scans]
    if progressive:
        bands = [(1, 5), (6, 63)]
        passes = [(members, 0, 0) for members in scans] + [([c], *band) for band in bands for c in range(len(planes))]
    for members, first, last in passes:
        out += segment(0xDA, bytes([len(members)]) + b"".join(bytes([ids[c], 0]) for c in members) + bytes([first, last, 0]))
        if len(members) == 1:
            c = members[0]
            units = [[(c, y, x)] for y in range(sizes[c][1]) for x in range(sizes[c][0])]
        else:
            units = [
                [(c, my * v + y, mx * h + x) for c in members for (h, v) in [sampling[c]] for y in range(v) for x in range(h)]
                for my in range(mcus_y)
                for mx in range(mcus_x)
            ]
        step = restart or len(units)
        for number, start in enumerate(range(0, len(units), step)):
            if number:
                out += bytes([0xFF, 0xD0 + (number - 1) % 8])
            stream, before = Bits(), [0] * len(planes)
            for unit in units[start : start + step]:
                for c, y, x in unit:
                    block = [int(value) for value in coefficients[c][y, x]]
                    if first == 0:
                        difference, before[c] = block[0] - before[c], block[0]
                        size = abs(difference).bit_length()
                        stream.text.append(dc_codes[size])
                        stream.value(difference, size)
                    run = 0
                    for place in range(max(first, 1), last + 1):
                        if block[place] == 0:
                            run += 1
                            continue
                        while run > 15:
                            stream.text.append(AC_CODES[0xF0])
                            run -= 16
                        size = abs(block[place]).bit_length()
                        stream.text.append(AC_CODES[run << 4 | size])
                        stream.value(block[place], size)
                        run = 0
                    if run and last:
                        stream.text.append(AC_CODES[0])
            out += stream.bytes()
    return out + end


def ycbcr(rgb: np.ndarray) -> list[np.ndarray]:
    r, g, b = (rgb[..., place].astype(float) for place in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return [y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402]
