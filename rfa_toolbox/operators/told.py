"""What a user says of an operation: what their rule answers, checked, and the size behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rfa_toolbox import arithmetic
from rfa_toolbox.errors import InvalidLayerError
from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.graphs.maps import map_steps
from rfa_toolbox.operators.chain import UserRule

if TYPE_CHECKING:
    from rfa_toolbox.operators.effects import Effect

__all__ = ["Told", "shape_behind", "told_by"]


class Told(NamedTuple):
    """What a user says of an operation: a layer, and an effect where they gave one."""

    layer: LayerDefinition
    effect: Effect | None = None


def told_by(
    rule: UserRule, name: str, shapes: Sequence[tuple[int, ...]], arguments: Mapping[str, Any]
) -> Told:
    """Return what the rule of a user says of an operation.

    Raises:
        InvalidLayerError: if it returns nothing that describes a layer.

    >>> told_by(lambda shapes, arguments: {"kernel_size": 3}, "acme::blur", [], {}).layer.name
    'blur'
    """
    from rfa_toolbox.operators.effects import Effect  # as late as it is needed

    answer = rule(shapes, arguments)
    label = name.replace(">", "::").rpartition("::")[2]
    if isinstance(answer, LayerDefinition):
        return Told(answer)
    if isinstance(answer, Effect):
        axes = range(max(answer.windows, default=-1) + 1)
        windows = [answer.windows.get(axis) for axis in axes]
        strides = tuple(1 if one is None else one.stride for one in windows) or 1
        factors = tuple(1 if one is None else one.upsampling for one in windows) or 1
        return Told(LayerDefinition(label, 1, strides, upsampling=factors), answer)
    if isinstance(answer, Mapping):
        try:
            return Told(LayerDefinition(**{"name": label, **_NEUTRAL, **answer}))
        except TypeError:
            pass  # a name that no layer has
        except InvalidLayerError as error:
            raise InvalidLayerError(
                f"The rule for {name!r} returned {answer!r}. {error}"
            ) from error
    raise InvalidLayerError(
        f"The rule for {name!r} returned {answer!r}; it must return a LayerDefinition, an Effect, "
        "or a mapping with kernel_size, stride_size, dilation, padding or upsampling, such as "
        "{'kernel_size': 3, 'stride_size': 2, 'padding': 1}."
    )


_NEUTRAL = {"kernel_size": 1, "stride_size": 1}


def shape_behind(
    layer: LayerDefinition, shape: Sequence[int], places: Sequence[int]
) -> tuple[int, ...]:
    """Return the shape of what a layer makes, which slides over some dimensions.

    Where its padding is not known, it makes a unit for every stride.

    >>> shape_behind(LayerDefinition("blur", 3, 2), (1, 4, 9, 9), (2, 3))
    (1, 4, 5, 5)
    >>> shape_behind(LayerDefinition("blur", 3, 2, padding=0), (1, 4, 9, 9), (2, 3))
    (1, 4, 4, 4)
    """
    found = list(shape)
    axes = len(places)
    kernels, strides, dilations, factors = (
        arithmetic.broadcast(one, axes)
        for one in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    padding = layer.padding
    sides = padding if isinstance(padding, tuple) else ((padding, padding),) * axes
    for axis, place in enumerate(places):
        if kernels[axis] == math.inf:
            found[place] = 1
            continue
        fine = shape[place] * factors[axis]
        begin, end = sides[axis] or (None, None)
        if (layer.ceil_mode or layer.same_padding) and begin is not None:
            found[place] = max(1, map_steps(layer, axes)[axis].units(shape[place]))
        elif begin is not None and end is not None and factors[axis] == 1:
            reach = int(dilations[axis] * (kernels[axis] - 1))
            found[place] = max(1, (fine + begin + end - reach - 1) // strides[axis] + 1)
        else:
            found[place] = max(1, -(-fine // strides[axis]))
    return tuple(found)
