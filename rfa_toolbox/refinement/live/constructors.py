"""Other widths and repeats of stages, by the constructor that a PyTorch model itself was made with.

A refinement names numbers only, never code: which constructor takes them follows from the class of
the live model.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rfa_toolbox.errors import RefinementError
from rfa_toolbox.refinement.live.weights import Weights

__all__ = ["offers", "prototype", "rebuilt"]


def rebuilt(model: nn.Module, arguments: Mapping[str, Any]) -> tuple[nn.Module, Weights]:
    """Make a model anew with other arguments; weights stay where name and shape are the same.

    Args:
        model: stays as it is. EfficientNet and ResNet of torchvision, and any model of timm.
        arguments: for EfficientNet ``stages``, a list with one object per stage, of which
            ``channels``, ``blocks``, ``stride``, ``kernel`` and ``expand_ratio`` may be given, the
            others are those of the model; for ResNet ``layers``, the blocks per stage, and
            ``width_per_group``; for timm
            what ``timm.create_model`` takes.

    Raises:
        RefinementError: for any other model, and for arguments that its constructor refuses.
    """
    make = _constructor_of(model)
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    try:
        with device:
            new = make(model, arguments)
    except RefinementError:
        raise
    except Exception as error:
        raise RefinementError(
            f"{type(model).__name__} cannot be made with {dict(arguments)!r}: {error}"
        ) from error
    if parameter is not None:
        new = new.to(parameter.dtype)
    return new, _transferred(model, new)


def prototype(model: nn.Module, arguments: Mapping[str, Any]) -> nn.Module:
    """Return a model made anew without any weights, to look at its graph.

    Raises:
        RefinementError: as for ``rebuilt``.
    """
    make = _constructor_of(model)
    with torch.device("meta"):
        return make(model, arguments).eval()


def offers(model: nn.Module) -> list[dict[str, Any]]:
    """Return arguments with which the constructor of a model makes it shorter and wider.

    There are none where nothing is known of the constructor.
    """
    home = f"{type(model).__module__}.{type(model).__name__}"
    return list(_OFFERS[home](model)) if home in _OFFERS else []


def _constructor_of(model: nn.Module) -> Callable[[nn.Module, Mapping[str, Any]], nn.Module]:
    home = f"{type(model).__module__}.{type(model).__name__}"
    if home in _CONSTRUCTORS:
        return _CONSTRUCTORS[home]
    if isinstance(getattr(model, "pretrained_cfg", None), Mapping) and home.startswith("timm."):
        return _timm_model
    raise RefinementError(
        f"The stages of a {home} cannot be changed: nothing is known of its constructor. Known are "
        f"{', '.join(sorted(_CONSTRUCTORS))} and the models of timm. Build the model with the new "
        "numbers yourself."
    )


def _efficientnet(model: Any, arguments: Mapping[str, Any]) -> nn.Module:
    module: Any = sys.modules[type(model).__module__]
    given = _stages_of(arguments, len(model.features) - 2)
    setting: list[Any] = []
    channels = model.features[0][0].out_channels
    for place, asked in enumerate(given):
        stage = model.features[min(place, len(model.features) - 3) + 1]
        known = _stage_numbers(stage) | asked
        fused = type(stage[0]).__name__ == "FusedMBConv"
        kind: Any = module.FusedMBConvConfig if fused else module.MBConvConfig
        setting.append(
            kind(
                known["expand_ratio"], known["kernel"], known["stride"], channels,
                known["channels"], known["blocks"],
            )
        )  # fmt: skip
        channels = setting[-1].out_channels
    blocks = [block for stage in model.features[1:-1] for block in stage]
    norm = model.features[0][1]
    made: nn.Module = model.__class__(
        setting,
        dropout=model.classifier[0].p,
        stochastic_depth_prob=blocks[-1].stochastic_depth.p * len(blocks) / max(1, len(blocks) - 1),
        num_classes=model.classifier[-1].out_features,
        norm_layer=functools.partial(norm.__class__, eps=norm.eps, momentum=norm.momentum),
    )
    return made


_STAGE_KEYS = frozenset({"channels", "blocks", "stride", "kernel", "expand_ratio"})


def _stages_of(arguments: Mapping[str, Any], most: int) -> Sequence[dict[str, Any]]:
    stages = arguments.get("stages")
    if (
        set(arguments) != {"stages"}
        or not isinstance(stages, Sequence)
        or not stages
        or not all(isinstance(one, Mapping) and _STAGE_KEYS.issuperset(one) for one in stages)
    ):
        raise RefinementError(
            f"An EfficientNet was to be made with {dict(arguments)!r}; it takes 'stages': a list "
            f"of objects, one for each of its at most {most} stages, with some of the keys "
            f"{sorted(_STAGE_KEYS)!r}."
        )
    return [dict(one) for one in stages]


def _stage_numbers(stage: Any) -> dict[str, Any]:
    """Read the numbers of a stage off its first block."""
    convolutions = [one for one in stage[0].modules() if isinstance(one, nn.Conv2d)]
    spatial = next(one for one in convolutions if max(one.kernel_size) > 1 or one.groups > 1)
    first = convolutions[0]
    return {
        "expand_ratio": spatial.out_channels / first.in_channels,
        "kernel": spatial.kernel_size[0],
        "stride": spatial.stride[0],
        "channels": stage[0].out_channels,
        "blocks": len(stage),
    }


_WIDER = (1.25, 1.5, 2.0)
"""How many times as wide a stage is made that takes over the blocks of the next one."""


def _shorter_efficientnets(model: Any) -> Iterator[dict[str, Any]]:
    """Yield EfficientNets with one stage less, as they were published.

    The last stage is left out, the one in front takes over its width and blocks, and the one in
    front of that takes over those blocks, and gets wider.
    """
    stages = [_stage_numbers(stage) for stage in model.features[1:-1]]
    if len(stages) < 3:
        return
    wide, late, last = stages[-3:]
    for factor in _WIDER:
        for stride in sorted({late["stride"], 1}, reverse=True):
            yield {
                "stages": [
                    *({} for _ in stages[:-3]),
                    {
                        "channels": _divisible(wide["channels"] * factor),
                        "blocks": wide["blocks"] + late["blocks"],
                    },
                    {
                        "channels": last["channels"],
                        "blocks": last["blocks"],
                        "stride": stride,
                    },
                ]
            }


def _divisible(channels: float) -> int:
    """Return a number of channels as EfficientNet rounds it: to a multiple of 8, not far below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _shorter_resnets(model: Any) -> Iterator[dict[str, Any]]:
    """Yield ResNets of wide bottlenecks, with fewer of them in every stage."""
    layers = [model.layer1, model.layer2, model.layer3, model.layer4]
    if not hasattr(model.layer1[0], "conv3"):
        return  # blocks of two convolutions have the width of their stage
    for part in (2, 4):
        fewer = [max(1, -(-len(stage) // part)) for stage in layers]
        for factor in _WIDER:
            width = round(model.base_width * factor)
            yield {"layers": fewer, "width_per_group": width}


def _resnet(model: Any, arguments: Mapping[str, Any]) -> nn.Module:
    layers = arguments.get("layers")
    width = arguments.get("width_per_group", model.base_width)
    if (
        not set(arguments) <= {"layers", "width_per_group"}
        or not isinstance(layers, Sequence)
        or len(layers) != 4
        or not all(type(one) is int and one > 0 for one in (*layers, width))
    ):
        raise RefinementError(
            f"A ResNet was to be made with {dict(arguments)!r}; it takes 'layers': four numbers of "
            "blocks, and 'width_per_group': a number of channels."
        )
    made: nn.Module = model.__class__(
        type(model.layer1[0]),
        list(layers),
        num_classes=model.fc.out_features,
        groups=model.groups,
        width_per_group=width,
        norm_layer=model._norm_layer,
    )
    return made


def _timm_model(model: Any, arguments: Mapping[str, Any]) -> nn.Module:
    create = sys.modules["timm"].create_model
    refused = sorted(
        name
        for name, value in arguments.items()
        if name in inspect.signature(create).parameters or not _is_numbers(value)
    )
    if refused or not arguments:
        raise RefinementError(
            f"A model of timm was to be made with {dict(arguments)!r}; a refinement gives it "
            "numbers and lists of numbers that its architecture takes, such as "
            f"{{'depths': [3, 3, 9]}}, and nothing that loads weights ({refused!r})."
        )
    name = model.pretrained_cfg["architecture"]
    made: nn.Module = create(name, num_classes=model.num_classes, **arguments)
    return made


def _is_numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_numbers, value))
    return type(value) in {int, float}


_CONSTRUCTORS: Mapping[str, Callable[[Any, Mapping[str, Any]], nn.Module]] = {
    "torchvision.models.efficientnet.EfficientNet": _efficientnet,
    "torchvision.models.resnet.ResNet": _resnet,
}

_OFFERS: Mapping[str, Callable[[Any], Iterator[dict[str, Any]]]] = {
    "torchvision.models.efficientnet.EfficientNet": _shorter_efficientnets,
    "torchvision.models.resnet.ResNet": _shorter_resnets,
}


def _transferred(model: nn.Module, new: nn.Module) -> Weights:
    """Copy all that has the same name and shape; say of which layers something is new."""
    old, weights = model.state_dict(), Weights()
    with torch.no_grad():
        for name, tensor in new.state_dict().items():
            before = old.get(name)
            if before is not None and before.shape == tensor.shape:
                tensor.copy_(before)
            else:
                weights.initialised.append(name.rpartition(".")[0])
    weights.initialised[:] = dict.fromkeys(weights.initialised)
    return weights
