"""What a model over time needs to know of the past and of the future."""

from __future__ import annotations

import math

import attrs

from rfa_toolbox.arithmetic import Jump, Size
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node

__all__ = ["Streaming", "streaming"]


@attrs.frozen(slots=True)
class Streaming:
    """How far the units of a map look back and ahead in time.

    Unit ``i`` of a map with jump ``j`` stands for the samples ``i*j`` to ``(i + 1)*j - 1``.

    Attributes:
        history: samples in front of these at which a unit looks; inf for everything in front.
        look_ahead: samples behind these that a unit has to wait for; 0 for a causal model, inf
            where every unit waits for the end.
        jump: samples between neighbouring units.
        rate: samples per second; None if not given.
    """

    history: Size
    look_ahead: Size
    jump: Jump
    rate: float | None = None

    @property
    def history_units(self) -> Size:
        """History in units of the map, rounded up."""
        return self._units(self.history)

    @property
    def look_ahead_units(self) -> Size:
        """Look-ahead in units of the map, rounded up."""
        return self._units(self.look_ahead)

    @property
    def history_ms(self) -> float | None:
        """History in milliseconds; None without a rate."""
        return None if self.rate is None else 1000 * self.history / self.rate

    @property
    def look_ahead_ms(self) -> float | None:
        """Look-ahead in milliseconds, the algorithmic delay; None without a rate."""
        return None if self.rate is None else 1000 * self.look_ahead / self.rate

    def _units(self, samples: Size) -> Size:
        return samples if samples == math.inf else math.ceil(samples / self.jump)

    @property
    def is_causal(self) -> bool:
        """Whether no unit waits for samples behind its own.

        >>> Streaming(history=2, look_ahead=0, jump=1).is_causal
        True
        """
        return self.look_ahead == 0


def streaming(node: EnrichedNetworkNode, rate: float | None = None, axis: int = 0) -> Streaming:
    """Return how far the units of a layer look back and ahead along an axis that is time.

    Args:
        node: the layer, such as the output that an encoder returns.
        rate: samples of the input per second, for milliseconds.
        axis: the spatial axis that is time; 0 for a sequence.

    Raises:
        InvalidGraphError: a ValueError, if it is not known where the units look, if they have no
            place in the input, or if ``rate`` or ``axis`` is none.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> causal = LayerDefinition("Conv", 3, dilation=4, padding=[(8, 0)])
    >>> found = streaming(EnrichedNetworkNode("conv", causal, []), rate=16000)
    >>> found.history, found.look_ahead, found.history_ms
    (8, 0, 0.5)
    """
    windows = require_node(node).known_unit_windows()
    if type(axis) is not int or not 0 <= axis < len(windows):
        raise InvalidGraphError(f"axis is {axis!r}; valid are 0 to {len(windows) - 1}.")
    if rate is not None and (isinstance(rate, bool) or not 0 < rate < math.inf):
        raise InvalidGraphError(f"rate is {rate!r}; it must be a number of samples per second.")
    one = windows[axis]
    seen = [
        (place, first, last)
        for place, (first, last) in enumerate(zip(one.firsts, one.lasts, strict=True))
        if first <= last
    ]
    if not seen:
        raise InvalidGraphError(f"The units of {node.name!r} see no sample at all.")
    return Streaming(
        max(0, *(math.floor(place * one.jump) - first for place, first, _ in seen)),
        max(0, *(last + 1 - math.ceil((place + 1) * one.jump) for place, _, last in seen)),
        one.jump,
        rate,
    )
