"""Finding heads: windows that look at all of a map at once, and behind which nothing looks.

A convolution as classifier computes what a dense layer does with the flattened map, and a pooling
of fixed size in front of a dense layer is a global one: the model runs on maps of that size alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from rfa_toolbox.operators.values import Step
from rfa_toolbox.operators.windows import Window

__all__ = ["find_heads"]

_DENSE = {
    *("flatten", "linear", "matmul", "mm", "bmm", "addmm", "einsum", "tensordot"),
    *("softmax", "log_softmax"),
}
"""What reads as many numbers as it has weights for; a mean over space takes maps of any size."""


def find_heads(steps: Mapping[int, Step]) -> frozenset[int]:
    """Return the steps with one window, without padding, over all of a map: a part of the head.

    >>> image = Step(0, "input", (), (), (Window(),), kind="input", feature_map=(7,))
    >>> classifier = Step(1, "conv1d", (), (0,), (Window(7),), feature_map=(1,))
    >>> find_heads({0: image, 1: classifier})
    frozenset({1})
    """
    found: set[int] = set()
    looked_at: set[int] = set()
    for number in sorted(steps, reverse=True):
        step = steps[number]
        if number not in looked_at and _covers(step, steps):
            found.add(number)
        if number in looked_at or not _passes_on(step, steps):
            looked_at.update(step.sources)
    return frozenset(found)


def _is_single(step: Step) -> bool:
    return step.feature_map is not None and set(step.feature_map) <= {1}


def _passes_on(step: Step, steps: Mapping[int, Step]) -> bool:
    """Whether a step looks at no more than one unit, and could not on another map that it takes."""
    if not _is_single(step):
        return False
    dense = step.name in _DENSE and all(_is_single(steps[source]) for source in step.sources)
    return step.neutral or dense


def _covers(step: Step, steps: Mapping[int, Step]) -> bool:
    """Whether the only unit of a step looks at all units of its map once."""
    maps = [steps[source].feature_map for source in step.sources if not steps[source].positionless]
    return (
        _is_single(step)
        and step.kind == "layer"
        and not step.blockwise
        and not step.resolution_dependent
        and bool(maps)
        and any(window.kernel > 1 for window in step.windows)
        and all(units is not None and all(map(_fills, step.windows, units)) for units in maps)
    )


def _fills(window: Window, units: int) -> bool:
    """Whether a window without padding lies on a map once, and another one would not fit.

    >>> _fills(Window(7, 7), 8), _fills(Window(3, 2, begin=1, end=1), 2), _fills(Window(3), 4)
    (True, False, False)
    """
    if window.begin != 0 or (window.end or 0) > 0 or window.upsampling > 1:
        return False
    return window.reach < units <= window.reach + window.stride
