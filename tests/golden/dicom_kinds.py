"""Writes DICOM files over transfer syntaxes, sample types and colours, and what pydicom reads from them.

They go to crates/byol-data/tests/data/dicom/, with the samples in expected.json: stored values of the first frame, 16-bit ones
with their full range spread over 16 bits, or 16-bit intensities over the range that is given; MONOCHROME1 inverted. JPEG without loss,
which pydicom cannot read alone, is written here and checked with libjpeg-turbo. Run from the repository root.
"""

import io
import json
import logging
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_rescale, convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from pictures import scene

FOLDER = Path("crates/byol-data/tests/data/dicom")
CT = "1.2.840.10008.5.1.4.1.1.2"


def data_set(array: np.ndarray, syntax: str, photometric: str, bits: int, signed: bool = False, **more) -> Dataset:
    """One frame, or several if `array` has one axis more than the picture; pixels native."""
    colours = 1 if photometric.startswith("MONO") or photometric.startswith("PAL") else 3
    frames = array.ndim - (2 if colours == 1 else 3)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = CT
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.SOPClassUID, ds.SOPInstanceUID = CT, "1.2.3"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = colours, photometric
    if colours == 3:
        ds.PlanarConfiguration = 0
    if frames:
        ds.NumberOfFrames = len(array)
    ds.Rows, ds.Columns = array.shape[frames : frames + 2]
    ds.BitsAllocated = array.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(signed)
    for name, value in more.items():
        setattr(ds, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = array.astype(array.dtype.newbyteorder(order)).tobytes()
    if order == ">" and array.dtype.itemsize == 1:
        data = np.frombuffer(data, np.uint16).byteswap().tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB" if array.dtype.itemsize == 1 and order == "<" and syntax != ImplicitVRLittleEndian else "OW"
    return ds


def compressed(ds: Dataset, frames: list[bytes], per_frame: int = 1) -> Dataset:
    ds.PixelData = encapsulate(frames, fragments_per_frame=per_frame)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


def jpeg(rgb: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def lossless_jpeg(array: np.ndarray, bits: int, predictor: int = 1, shift: int = 0, rows_per_restart: int = 0, apart: bool = False) -> bytes:
    """ITU-T T.81, annex H: every difference by a code of five bits for its size. `apart` gives each component a scan."""
    planes = array.reshape(*array.shape[:2], -1).astype(int) >> shift
    height, width, count = planes.shape

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    def prediction(y: int, x: int, c: int, first: int) -> int:
        if y == first:
            return int(planes[y, x - 1, c]) if x else 1 << (bits - shift - 1)
        if x == 0:
            return int(planes[y - 1, x, c])
        left, above, corner = (int(planes[at]) for at in [(y, x - 1, c), (y - 1, x, c), (y - 1, x - 1, c)])
        choices = [left, above, corner, left + above - corner, left + ((above - corner) >> 1), above + ((left - corner) >> 1), (left + above) >> 1]
        return choices[predictor - 1]

    def packed(text: str) -> bytes:
        text += "1" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")

    def scan(members: list[int]) -> bytes:
        header = bytes([len(members)]) + b"".join(bytes([c + 1, 0]) for c in members) + bytes([predictor, 0, shift])
        out, text, first = segment(0xDA, header), "", 0
        for y in range(height):
            if rows_per_restart and y and y % rows_per_restart == 0:
                out, text, first = out + packed(text) + bytes([0xFF, 0xD0 + (y // rows_per_restart - 1) % 8]), "", y
            for x in range(width):
                for c in members:
                    difference = (int(planes[y, x, c]) - prediction(y, x, c, first) + 32767) % 65536 - 32767
                    size = abs(difference).bit_length()
                    text += f"{size:05b}"
                    if 0 < size < 16:
                        text += f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}"
        return out + packed(text)

    frame = bytes([bits]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([count])
    frame += b"".join(bytes([c + 1, 0x11, 0]) for c in range(count))
    table = bytes([0, 0, 0, 0, 0, 17] + [0] * 11 + list(range(17)))
    restart = segment(0xDD, (rows_per_restart * width).to_bytes(2, "big")) if rows_per_restart else b""
    scans = b"".join(scan([c]) for c in range(count)) if apart else scan(list(range(count)))
    file = b"\xff\xd8" + segment(0xC3, frame) + segment(0xC4, table) + restart + scans + b"\xff\xd9"
    read = imagecodecs.jpeg8_decode(file)
    assert np.array_equal(read.reshape(planes.shape).astype(int), planes << shift), "libjpeg-turbo reads another picture"
    return file


def main() -> None:
    logging.disable()
    FOLDER.mkdir(parents=True, exist_ok=True)
    rgb = scene(10, 6)
    grey = rgb[..., 1]
    twelve = grey.astype(np.uint16) << 4 | grey >> 4
    hounsfield = (twelve.astype(int) - 1024).astype(np.int16)
    overlay = twelve | np.uint16(0x5000)
    planes = data_set(rgb, ExplicitVRLittleEndian, "RGB", 8, PlanarConfiguration=1)
    planes.PixelData = np.moveaxis(rgb, -1, 0).tobytes()
    palette = Image.fromarray(rgb).quantize(16)
    indices, colours = np.asarray(palette), np.array(palette.getpalette()[:48], np.uint8).reshape(16, 3)
    tables = {}
    for place, name in enumerate(["Red", "Green", "Blue"]):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [16, 0, 8]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, place].tobytes()
    enhanced = data_set(np.stack([twelve, twelve[::-1]]), ExplicitVRLittleEndian, "MONOCHROME2", 12)
    transform, group = Dataset(), Dataset()
    transform.RescaleIntercept, transform.RescaleSlope, transform.RescaleType = "-1024", "2", "HU"
    group.PixelValueTransformationSequence = Sequence([transform])
    enhanced.SharedFunctionalGroupsSequence = Sequence([group])
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    halves = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]], axis=-1)
    ybr_422 = data_set(ybr, ExplicitVRLittleEndian, "YBR_FULL_422", 8)
    ybr_422.PixelData = halves.tobytes()
    nested = data_set(twelve, ExplicitVRLittleEndian, "MONOCHROME2", 12)
    icon = data_set(grey[:4, :4], ExplicitVRLittleEndian, "MONOCHROME2", 8)
    del icon.file_meta
    nested.IconImageSequence = Sequence([icon])
    nested["IconImageSequence"].is_undefined_length = True
    floats = data_set(grey, ExplicitVRLittleEndian, "MONOCHROME2", 8)
    del floats.PixelData
    floats.BitsAllocated, floats.FloatPixelData = 32, (grey / 255).astype(np.float32).tobytes()
    hu = {"RescaleIntercept": "-1024", "RescaleSlope": "1"}
    explicit = ExplicitVRLittleEndian
    # name → data set, range (None for the full one)
    files = {
        "unsigned_12_in_16.dcm": (data_set(twelve, explicit, "MONOCHROME2", 12), None),
        "implicit.dcm": (data_set(twelve, ImplicitVRLittleEndian, "MONOCHROME2", 12), None),
        "big_endian.dcm": (data_set(twelve, ExplicitVRBigEndian, "MONOCHROME2", 12), None),
        "big_endian_rgb.dcm": (data_set(rgb, ExplicitVRBigEndian, "RGB", 8), None),
        "deflated.dcm": (data_set(twelve, DeflatedExplicitVRLittleEndian, "MONOCHROME2", 12), None),
        "monochrome1.dcm": (data_set(twelve, explicit, "MONOCHROME1", 12), None),
        "monochrome1_range.dcm": (data_set(twelve, explicit, "MONOCHROME1", 12, **hu), (-1024, 3071)),
        "unsigned_rescaled.dcm": (data_set(twelve, explicit, "MONOCHROME2", 12, **hu), (-1000, 1000)),
        "signed_ct.dcm": (data_set(hounsfield, explicit, "MONOCHROME2", 16, True, RescaleIntercept="-1024", RescaleSlope="1"), (-2048, 2048)),
        "signed_12.dcm": (data_set(twelve ^ np.uint16(0x800), ImplicitVRLittleEndian, "MONOCHROME2", 12, True), (-2048, 2047)),
        "enhanced.dcm": (enhanced, (-1024, 7166)),
        "unsigned_10.dcm": (data_set(twelve >> 2, explicit, "MONOCHROME2", 10), None),
        "icon.dcm": (nested, None),
        "float.dcm": (floats, (0, 1)),
        "rgb.dcm": (data_set(rgb, explicit, "RGB", 8), None),
        "rgb_planes.dcm": (planes, None),
        "ybr_full.dcm": (data_set(ybr, explicit, "YBR_FULL", 8), None),
        "ybr_422.dcm": (ybr_422, None),
        "palette.dcm": (data_set(indices, explicit, "PALETTE COLOR", 8, **tables), None),
        "jpeg_ybr.dcm": (compressed(data_set(rgb, JPEGBaseline8Bit, "YBR_FULL_422", 8), [jpeg(rgb)], 2), None),
        "jpeg_named_rgb.dcm": (compressed(data_set(rgb, JPEGBaseline8Bit, "RGB", 8), [jpeg(rgb)]), None),
        "jpeg_two_frames.dcm": (compressed(data_set(np.stack([grey, grey[::-1]]), JPEGBaseline8Bit, "MONOCHROME2", 8), [jpeg(grey), jpeg(grey[::-1])]), None),
    }
    for name, array, photometric, bits in [("rle_12.dcm", twelve, "MONOCHROME2", 12), ("rle_rgb.dcm", rgb, "RGB", 8), ("rle_two_frames.dcm", np.stack([grey, grey[::-1]]), "MONOCHROME2", 8)]:
        ds = data_set(array, explicit, photometric, bits)
        ds.compress(RLELossless, generate_instance_uid=False)
        files[name] = (ds, None)
    expected = {}
    for name, (ds, limits) in files.items():
        ds.save_as(FOLDER / name, enforce_file_format=True)
        read = pydicom.dcmread(FOLDER / name)
        values = read.pixel_array
        if int(read.get("NumberOfFrames", 1)) > 1:
            values = values[0]
        # pydicom converts YBR of compressed pixels itself, and leaves native ones to its caller.
        if read.PhotometricInterpretation == "YBR_FULL" or (read.PhotometricInterpretation == "YBR_FULL_422" and not name.startswith("jpeg")):
            values = convert_color_space(pydicom.pixels.pixel_array(FOLDER / name, raw=True), read.PhotometricInterpretation, "RGB")
        elif read.PhotometricInterpretation == "PALETTE COLOR":
            values = apply_color_lut(values, read)
        values = values.astype(float)
        if name == "enhanced.dcm":
            values = values * 2 - 1024
        elif "RescaleSlope" in read:
            values = apply_rescale(read.pixel_array, read)
        full = 65535 if limits or read.BitsStored > 8 else 255
        low, high = limits or (0, 2**read.BitsStored - 1)
        values = np.rint((values - low).clip(0, high - low) / (high - low) * full).astype(int)
        if read.PhotometricInterpretation == "MONOCHROME1":
            values = full - values
        expected[name] = {"value_range": limits and list(limits), "samples": values.flatten().tolist()}
    # As they were made: bits beside the stored ones, and JPEG without loss.
    made = {"overlay_bits.dcm": (data_set(overlay, explicit, "MONOCHROME2", 12), twelve, 12)}
    steep = (twelve.astype(int) * 977 % 65536).astype(np.uint16)
    for name, array, bits, options in [
        ("jpeg_lossless_12.dcm", twelve, 12, {}),
        ("jpeg_lossless_16.dcm", steep, 16, {"predictor": 7}),
        ("jpeg_lossless_shifted.dcm", steep >> 4 & 0xFF8, 12, {"predictor": 6, "shift": 3}),
        ("jpeg_lossless_restarts.dcm", steep, 16, {"predictor": 4, "rows_per_restart": 2}),
        ("jpeg_lossless_rgb.dcm", rgb, 8, {"predictor": 5}),
        ("jpeg_lossless_scans.dcm", rgb, 8, {"predictor": 2, "apart": True}),
    ]:
        syntax = JPEGLossless if options else JPEGLosslessSV1
        ds = data_set(array, syntax, "RGB" if array.ndim == 3 else "MONOCHROME2", bits)
        made[name] = (compressed(ds, [lossless_jpeg(array, bits, **options)]), array, bits)
    for name, (ds, array, bits) in made.items():
        ds.save_as(FOLDER / name, enforce_file_format=True)
        full = 65535 if bits > 8 else 255
        values = np.rint(array.astype(float) / (2**bits - 1) * full).astype(int)
        expected[name] = {"value_range": None, "samples": values.flatten().tolist()}
    ds = compressed(data_set(grey, JPEG2000Lossless, "MONOCHROME2", 8), [imagecodecs.jpeg2k_encode(grey)])
    ds.save_as(FOLDER / "jpeg_2000.dcm", enforce_file_format=True)
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in expected.items())
    (FOLDER / "expected.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
