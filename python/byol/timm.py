"""Registers `byol_resnet` with timm: every network that `byol` has, for those that timm has none for.

    import byol.timm, timm
    model = timm.create_model("local-dir:FOLDER", pretrained=True)

FOLDER is what `byol export ENCODER --format timm -o FOLDER` wrote. Its `config.json` names `byol_resnet` for CIFAR stems, "SAME" padding, group norm and
some widths; the others open without this module.
"""

from __future__ import annotations

from typing import Any, Optional

from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn
from torch.nn import functional

from .architecture import Architecture, parse_arch
from .torch_model import ResNet


class TimmResNet(ResNet):
    """The encoder with timm's methods: features, pooling, and a classifier if one is asked for."""

    def __init__(
        self,
        arch: str = "resnet18",
        stem: str = "imagenet",
        padding: str = "symmetric",
        first_group_projection: bool = False,
        norm: str = "batch",
        num_classes: int = 0,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(Architecture(*parse_arch(arch), in_chans, stem, padding, first_group_projection, norm))
        self.num_features = self.head_hidden_size = self.architecture.representation_size
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.reset_classifier(num_classes, global_pool)

    def reset_classifier(self, num_classes: int, global_pool: Optional[str] = None) -> None:
        """A new classifier of so many classes; 0 for none. `global_pool` is "avg", or "" for feature maps."""
        if global_pool is not None:
            if global_pool not in ("", "avg"):
                raise ValueError(f'global_pool: expected "avg" or "", got {global_pool!r}')
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.fc

    def forward_features(self, x: Tensor) -> Tensor:
        """Feature maps `[batch, size, height, width]`."""
        return self.feature_maps(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features, or what the classifier makes of them."""
        if self.global_pool == "avg":
            x = x.mean(dim=(2, 3))
        x = functional.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


@register_model
def byol_resnet(pretrained: bool = False, **settings: Any) -> TimmResNet:
    """The entry that `timm.create_model` calls."""
    return build_model_with_cfg(TimmResNet, "byol_resnet", pretrained, **settings)
