"""Opens a run folder or a file of weights."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import numpy as np

from .architecture import Architecture
from .decoding import Picture
from .description import Description, read_description
from .errors import EncoderError
from .numpy_model import NumpyResNet
from .preparation import Transform
from .weights import read_safetensors

_WEIGHTS = "encoder.safetensors"


def load(encoder: Union[str, "os.PathLike[str]"], torch: Optional[bool] = None) -> Tuple[Any, Transform]:
    """Opens an encoder.

    Args:
        encoder: a run folder (its newest encoder), or a `.safetensors` file with its `.json` beside it.
        torch: whether the model is a `torch.nn.Module`; by default if PyTorch is installed.

    Returns:
        The model, prepared pictures `[batch, channels, height, width]` → representations `[batch, size]` (0 or more, not
        normalised), in evaluation mode; and the transform that prepares pictures.

    Raises:
        EncoderError: when files are missing or damaged, or the weights do not fit the description.
        ModuleNotFoundError: with `torch=True` and no PyTorch.
    """
    path = weights_path(encoder)
    description = read_description(path.with_suffix(".json"))
    weights = _fitting(path, description.architecture)
    if description.precision == "bf16":
        warnings.warn(
            f"{path}: this encoder's own program computes its activations in bf16; here they are float32, which is more exact, so "
            "features differ from those of `byol embed` by the rounding of bf16 (about 1 %)",
            stacklevel=2,
        )
    model = _model(description, weights, _has_torch() if torch is None else torch)
    return model, Transform(description.preparation)


def embed(model: Any, transform: Transform, pictures: Iterable[Picture], batch_size: int = 32) -> np.ndarray:
    """Representations of pictures, `[pictures, size]` of float32, in their order.

    Raises:
        PictureError: for the first picture that cannot be prepared.
    """
    if isinstance(pictures, (str, Path)):
        pictures = [pictures]
    rows: List[np.ndarray] = []
    batch: List[np.ndarray] = []
    for picture in pictures:
        batch.append(transform(picture))
        if len(batch) == batch_size:
            rows.append(_represented(model, np.stack(batch)))
            batch.clear()
    if batch:
        rows.append(_represented(model, np.stack(batch)))
    if not rows:
        return np.empty((0, int(model.architecture.representation_size)), np.float32)
    return np.concatenate(rows)


def _represented(model: Any, images: np.ndarray) -> np.ndarray:
    if isinstance(model, NumpyResNet):
        return model(images)
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        return model(torch.from_numpy(images).to(device)).float().cpu().numpy()


def weights_path(encoder: Union[str, "os.PathLike[str]"]) -> Path:
    """The file of weights that a run folder, or the path of such a file, stands for."""
    path = Path(encoder)
    if path.is_dir():
        if not (path / _WEIGHTS).is_file():
            raise EncoderError(f"{path}: no {_WEIGHTS} in this folder; expected a run folder with at least one checkpoint")
        return path / _WEIGHTS
    if not path.exists():
        raise EncoderError(f"{path}: no such encoder; expected a run folder or a .safetensors file with its .json beside it")
    return path


def _fitting(path: Path, architecture: Architecture) -> Dict[str, np.ndarray]:
    """The weights of the file, which must be all that the architecture has, in its shapes, and no others."""
    weights, _ = read_safetensors(path)
    expected = architecture.weight_shapes()
    for name, shape in expected.items():
        if name not in weights:
            raise EncoderError(f"{path}: {name} is missing; the weights do not belong to {path.with_suffix('.json')}")
        if weights[name].shape != shape:
            raise EncoderError(f"{path}: {name}: expected shape {shape}, got {weights[name].shape}")
        if weights[name].dtype != np.float32:
            raise EncoderError(f"{path}: {name}: expected floating-point numbers, got {weights[name].dtype}")
    others = [name for name in weights if name not in expected and not name.endswith(".num_batches_tracked")]
    if others:
        raise EncoderError(f"{path}: {others[0]} has no place in the network of {path.with_suffix('.json')}")
    return weights


def _has_torch() -> bool:
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _model(description: Description, weights: Dict[str, np.ndarray], in_torch: bool) -> Any:
    if not in_torch:
        return NumpyResNet(description.architecture, weights)
    from . import torch_model

    return torch_model.load(description.architecture, weights)
