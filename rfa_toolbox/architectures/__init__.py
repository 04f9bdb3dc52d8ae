"""Well-known architectures as graphs built by hand; no framework is needed."""

from __future__ import annotations

from rfa_toolbox.architectures.resnet import resnet18, resnet36, resnet50, resnet101, resnet152
from rfa_toolbox.architectures.vgg import vgg11, vgg13, vgg16, vgg19

__all__ = [
    "resnet18",
    "resnet36",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
