"""Opens encoders that `byol` pretrained: the network and the exact preparation of pictures.

    import byol
    model, transform = byol.load("runs/photos")
    features = byol.embed(model, transform, ["cat.jpg", "dog.png"])   # [2, size] of float32

With PyTorch installed the model is a `torch.nn.Module`; without, a forward pass in NumPy. Features agree with those of
`byol embed` to rounding.
"""

from .errors import ByolError, EncoderError, PictureError
from .loading import embed, load
from .preparation import Transform

__all__ = ["ByolError", "EncoderError", "PictureError", "Transform", "embed", "load"]
__version__ = "0.1.0"
