"""`encoder.json`: which network the weights are and how pictures are prepared for it."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple, Union

from .architecture import Architecture, parse_arch
from .errors import EncoderError

#: `[low, high]`, or `"percentile"` for those of each picture.
ValueRange = Union[Tuple[float, float], str, None]

_ALGORITHM = 1
_MOST_PX = 8192
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes the input of the network; docs/preparation.md says what each means."""

    size_px: int
    crop_first: bool
    crop_fraction: float
    antialias: bool
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    value_range: ValueRange
    exif_orientation: bool

    @property
    def channels(self) -> int:
        """Channels of a prepared picture."""
        return len(self.mean)

    def statement(self) -> Dict[str, Any]:
        """What `encoder.json` says under `preparation` about an encoder that is prepared for in this way."""
        ranged = [] if self.value_range is None else ["value_range"]
        turned = ["orientation"] if self.exif_orientation else []
        cut = ["crop", "resize"] if self.crop_first else ["resize", "crop"]
        return {
            "algorithm": _ALGORITHM,
            "steps": ["decode", *ranged, "channels", *turned, *cut, "clip", "normalise"],
            "channels": {1: "luma", 3: "rgb", 4: "rgb_alpha"}.get(self.channels, "as_stored"),
            "side_rounding": "down" if self.crop_first else "half_even",
            "start_rounding": "up" if self.crop_first else "half_even",
            "filter": {"kernel": "cubic", "a": -0.5, "antialias": self.antialias, "outside": "dropped"},
            "range": [0.0, 1.0],
        }


@dataclass(frozen=True)
class Description:
    """A checked `encoder.json`."""

    architecture: Architecture
    preparation: Preparation
    precision: str
    training: str
    steps: int


def read_description(path: Path) -> Description:
    """Reads and checks `encoder.json`.

    Raises:
        EncoderError: when it is missing, damaged or says something this package does not know.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EncoderError(
            f"{path}: missing; the architecture and the preprocessing are in it, so keep it beside the weights"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise EncoderError(f"{path}: cannot be read: {error}") from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise EncoderError(f"{path}: not an encoder description: {error}; restore it from a copy") from error
    return _Reader(path, values).description()


class _Reader:
    """Takes fields out of one JSON object, each with its check."""

    def __init__(self, path: Path, values: Any) -> None:
        self.path = path
        if not isinstance(values, dict):
            raise self._wrong("the file", "one JSON object", values)
        self.values = values

    def _wrong(self, key: str, expected: str, got: Any) -> EncoderError:
        return EncoderError(f"{self.path}: {key}: expected {expected}, got {json.dumps(got)}")

    def _choice(self, key: str, choices: Tuple[Any, ...], **default: Any) -> Any:
        value = self.values.get(key, *default.values())
        if value not in choices or isinstance(value, bool) != isinstance(choices[0], bool):
            raise self._wrong(key, " or ".join(json.dumps(choice) for choice in choices), value)
        return value

    def description(self) -> Description:
        preparation = self._preparation()
        try:
            depth, stem_channels = parse_arch(self.values.get("arch"))
        except EncoderError as error:
            raise EncoderError(f"{self.path}: arch: {error}") from None
        architecture = Architecture(
            depth=depth,
            stem_channels=stem_channels,
            input_channels=preparation.channels,
            stem=self._choice("stem", ("imagenet", "cifar")),
            padding=self._choice("padding", ("symmetric", "same"), default="symmetric"),
            first_group_projection=self._choice("first_group_projection", (False, True), default=False),
            norm=self._choice("norm", ("batch", "group"), default="batch"),
        )
        size = self.values.get("representation_size", architecture.representation_size)
        if size != architecture.representation_size:
            raise self._wrong("representation_size", str(architecture.representation_size), size)
        return Description(
            architecture=architecture,
            preparation=preparation,
            precision=self._choice("precision", ("f32", "bf16"), default="f32"),
            training=str(self.values.get("training", "")),
            steps=int(self.values.get("steps", 0)),
        )

    def _preparation(self) -> Preparation:
        inner = self.values.get("preprocessing")
        keys = {"size_px", "resize", "crop_fraction", "semantics", "mean", "std"}
        if not isinstance(inner, dict) or set(inner) != keys:
            raise self._wrong("preprocessing", f"an object with {', '.join(sorted(keys))}", inner)
        part = _Reader(self.path, inner)
        size = inner["size_px"]
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _MOST_PX:
            raise self._wrong("preprocessing.size_px", f"a whole number from 1 to {_MOST_PX}", size)
        fraction = inner["crop_fraction"]
        if not _is_number(fraction) or not 0 < fraction <= 1:
            raise self._wrong("preprocessing.crop_fraction", "a number above 0 and at most 1", fraction)
        mean, std = inner["mean"], inner["std"]
        for name, list_ in (("mean", mean), ("std", std)):
            if not isinstance(list_, list) or not all(_is_number(value) for value in list_):
                raise self._wrong(f"preprocessing.{name}", "a list of numbers, one per channel", list_)
        if not 1 <= len(mean) <= _MOST_CHANNELS or len(std) != len(mean) or min(std) <= 0:
            raise self._wrong("preprocessing.std", f"{len(mean)} positive numbers, one per channel", std)
        preparation = Preparation(
            size_px=size,
            crop_first=part._choice("resize", ("crop_then_resize", "resize_then_crop")) == "crop_then_resize",
            crop_fraction=fraction,
            antialias=part._choice("semantics", ("reference", "torchvision")) == "torchvision",
            mean=tuple(mean),
            std=tuple(std),
            value_range=self._value_range(),
            exif_orientation=self._exif_orientation(),
        )
        stated: Optional[Any] = self.values.get("preparation")
        if stated is not None and stated != preparation.statement():
            raise EncoderError(
                f"{self.path}: preparation: expected {json.dumps(preparation.statement())}, which is what this package does, "
                f"got {json.dumps(stated)}; a newer package may know it"
            )
        return preparation

    def _value_range(self) -> ValueRange:
        value = self.values.get("value_range")
        if value is None or value == "percentile":
            return value
        if isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value) and value[0] < value[1]:
            return float(value[0]), float(value[1])
        raise self._wrong("value_range", '[LOW, HIGH] or "percentile"', value)

    def _exif_orientation(self) -> bool:
        stated = self.values.get("exif_orientation")
        if stated is None:
            # Written before it was stated: then the settings of the run beside it say.
            config = self.path.with_name("config.toml")
            text = config.read_text(encoding="utf-8") if config.is_file() else ""
            return re.search(r"^\s*exif_orientation\s*=\s*false\b", text, re.MULTILINE) is None
        return self._choice("exif_orientation", (False, True))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
