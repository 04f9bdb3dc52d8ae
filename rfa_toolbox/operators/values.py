"""What is known of a tensor on its way, and of an operation that computed; never changed."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import attrs

from rfa_toolbox.domain import Certainty
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Offsets, spatial_axes
from rfa_toolbox.operators.record import ModuleCall, Numbers
from rfa_toolbox.operators.windows import Window

__all__ = [
    "Facts",
    "Parts",
    "Step",
    "Value",
    "ancestors",
    "between",
    "is_stacked",
    "readers_of",
    "repeats",
    "with_copies",
    "with_most_axes",
]


@attrs.frozen(slots=False, kw_only=True)  # with slots, making one takes twice as long
class Facts:
    """What a rule says of an operation that goes into the step of it as it is.

    Attributes:
        kind: "input", "slice", "pointwise", "scaling" (by a constant), "layer" or "unknown".
        ignored_global: whether it depends on the whole image in a way that does not count.
        position_dependent: whether it does something else at other places of the image, or on
            images of another size.
        statistics: by axis the window that its statistics are taken from, if that ever counts.
        everywhere: those of its sources that are the same at all positions of the others.
        turned: axes along which it brings units into an order that is not followed.
        seams: axes along which it puts parts of several maps one after another.
        ceil_mode: whether windows count that end behind its padding.
        same_padding: whether it pads so that there is a unit per stride, at any size.
    """

    kind: str = "layer"
    filters: int | None = None
    units: int | None = None
    certainty: Certainty = "exact"
    reason: str = ""
    blockwise: bool = False
    resolution_dependent: bool = False
    ignored_global: bool = False
    position_dependent: bool = False
    statistics: Mapping[int, Window] = MappingProxyType({})
    everywhere: tuple[int, ...] = ()
    turned: frozenset[int] = frozenset()
    seams: frozenset[int] = frozenset()
    ceil_mode: bool = False
    same_padding: bool = False


@attrs.frozen(slots=False)
class Step(Facts):
    """One operation that computes, with what it does along every spatial axis.

    Attributes:
        number: its place in the order of execution.
        name: the canonical name of the operator.
        scope: the module calls that it ran in, outermost first.
        sources: the steps that it reads.
        windows: one per spatial axis.
        positions: whether its result still has positions of the image.
        pooled: whether its result has none because whole images were mixed.
        offsets: per source, for each time that it is read, the unit of its map that the first
            unit of this step stands at, per axis; empty if they all stand at the first.
        feature_map: units of its output per axis, 1 where no positions are left; None where they
            are not followed.
        positionless: whether it is an input that has no place in the image, as a time step beside
            it, or is computed from such inputs alone.
        nowhere: those of its sources that are positionless.
        unaligned: axes along which what it reads does not lie upon each other at one distance.
        covers_map: whether its one window is all of its map, and nothing behind it looks.
        paired: axes along which every unit sees two places, and nothing is summed in between.
    """

    number: int
    name: str
    scope: tuple[ModuleCall, ...]
    sources: tuple[int, ...]
    windows: tuple[Window, ...]
    positions: bool = True
    pooled: bool = False
    offsets: Offsets = ()
    feature_map: tuple[int, ...] | None = None
    positionless: bool = False
    nowhere: tuple[int, ...] = ()
    unaligned: frozenset[int] = frozenset()
    covers_map: bool = False
    paired: frozenset[int] = frozenset()

    @property
    def neutral(self) -> bool:
        """Whether the step changes nothing along any axis."""
        return _is_neutral(self.windows)


@functools.lru_cache(maxsize=4096)
def _is_neutral(windows: tuple[Window, ...]) -> bool:
    return all(one.kernel == one.stride == one.upsampling == 1 for one in windows)


def ancestors(steps: Sequence[Step] | Mapping[int, Step], numbers: Iterable[int]) -> set[int]:
    """Return the numbers of some steps, and of all that they depend on."""
    found = set(numbers)
    for number in range(max(found, default=-1), -1, -1):  # sources come first
        if number in found:
            found.update(steps[number].sources)
    return found


def readers_of(steps: Iterable[Step]) -> dict[int, list[int]]:
    """Return by number of a step those that read it, once for every time that they do."""
    found: dict[int, list[int]] = {}
    for step in steps:
        for source in step.sources:
            found.setdefault(source, []).append(step.number)
    return found


class Parts(NamedTuple):
    """Channels from several tensors: along which dimension, and how many from each.

    ``channels`` are those that stand behind every index of the dimension, if it was viewed apart.
    """

    dimension: int
    sizes: tuple[int, ...]
    channels: int = 1

    def between(self, start: int, stop: int) -> tuple[Parts | None, bool]:
        """Return the parts of a run of channels, and whether some part is missing in it."""
        ends = tuple(itertools.accumulate(self.sizes))
        left = [
            min(stop, end) - max(start, end - size)
            for size, end in zip(self.sizes, ends, strict=True)
        ]
        kept = tuple(size for size in left if size > 0)
        return (self._replace(sizes=kept) if len(kept) > 1 else None), len(kept) < len(left)

    def viewed(self, shape: Sequence[int], other: Sequence[int]) -> Parts | None:
        """Return the parts of a tensor that is viewed in another shape; None if they are mixed up.

        >>> halves = Parts(1, (3, 3))
        >>> halves.viewed((1, 6, 8), (1, 2, 3, 8)), halves.viewed((1, 6, 8), (1, 3, 2, 8))
        (Parts(dimension=1, sizes=(1, 1), channels=3), None)
        """
        before, size = math.prod(shape[: self.dimension]), shape[self.dimension]
        fronts = itertools.accumulate(other, operator.mul, initial=1)
        for place, (front, own) in enumerate(zip(fronts, other, strict=False)):
            if front != before or own < 2:
                continue
            if own == size * self.channels > size:  # together again
                sizes = tuple(one * self.channels for one in self.sizes)
                return Parts(place, sizes)
            inner, rest = divmod(size, own)
            if rest or any(one % inner for one in self.sizes):
                return None
            return Parts(place, tuple(one // inner for one in self.sizes), inner * self.channels)
        return None


Scores: TypeAlias = Literal["", "zeroed", "normalised"]
"""What was done to the scores of an attention."""


class Value(NamedTuple):
    """A tensor on its way: the step that made it, and where its positions are now.

    ``extents`` are the sizes of that step's feature map. ``strided`` is where a slice left units
    out since then, if one did. ``parts`` are channels that came together in a concatenation and
    need not see the same, and ``apart`` tells whether channels hold units of different places that
    nothing has mixed yet; ``picked`` tells whether only some of either are left. ``beyond`` is, per
    axis, how many units at the ends of the map are copies of units further inside (reflection), inf
    if they are units of the far end or only of this edge; nothing where it is empty. ``sized``
    tells whether the size of the image decides which units of the map these are. ``gaps`` are, by
    axis, the places of units that were written with gaps between them, which hold nothing.
    ``open`` are the axes whose size the model leaves open. ``frames`` are, by axis, the step that
    brought units into an order that is not followed; units of one frame keep their distances.
    Along the axes ``cropped`` units were cut off, and padding took the place of some along those
    ``padded``; of those ``taken`` one unit was. ``counted`` tells whether a number of its own says
    how many units are left, so that they grow with no image. Along the axes ``mirrored`` the last
    unit comes first.
    ``allowed`` are, of scores that the positions in the last dimension but one have for those in
    the last one, which pairs a mask has left. ``scores`` is "zeroed" if the others are 0, which
    get a weight in a softmax, and "normalised" behind a softmax: what divided them is of all keys,
    whatever is set to 0 then.
    """

    step: int
    layout: Layout
    extents: tuple[int, ...]
    strided: tuple[ModuleCall, ...] | None = None
    parts: Parts | None = None
    picked: bool = False
    apart: bool = False
    beyond: tuple[int | float, ...] = ()
    sized: bool = False
    gaps: Mapping[int, int] = MappingProxyType({})
    open: frozenset[int] = frozenset()
    frames: Mapping[int, int] = MappingProxyType({})
    cropped: frozenset[int] = frozenset()
    padded: frozenset[int] = frozenset()
    taken: frozenset[int] = frozenset()
    counted: bool = False
    mirrored: frozenset[int] = frozenset()
    allowed: Numbers | None = None
    scores: Scores = ""

    def with_channels_of(self, other: Value) -> Value:
        """Return a tensor whose channels hold what those of another one do."""
        return self._replace(
            parts=other.parts, picked=other.picked, apart=other.apart, sized=other.sized
        )


def between(dimension: Dimension) -> tuple[int, Atom] | None:
    """Return how many numbers stand for every unit of a run of positions, if more than one does.

    >>> between((Atom(0, 8), Atom(None, 2)))
    (2, Atom(axis=0, size=8, step=1, origin=0))
    """
    atoms = [piece for piece in dimension if type(piece) is Atom]
    if len(dimension) == len(atoms) == 2 and atoms[0].axis is not None and atoms[1].axis is None:
        return atoms[1].size, atoms[0]
    return None


@functools.lru_cache(maxsize=4096)
def repeats(layout: Layout) -> bool:
    """Return whether some dimension has several numbers for every unit; see ``between``."""
    return any(map(between, layout))


def is_stacked(parts: Parts | None) -> bool:
    """Return whether parts are one number each, as those of a stack."""
    return parts is not None and parts.channels == 1 and set(parts.sizes) == {1}


def with_most_axes(values: Iterable[Value]) -> Value:
    """Return the first of the tensors that carry positions of most axes."""
    return max(values, key=lambda value: len(spatial_axes(value.layout)))


def with_copies(value: Value, units: Mapping[int, int | float], axes: int) -> Value:
    """Return a map at whose ends so many units are copies of others, by axis."""
    if not units:
        return value
    before = dict(enumerate(value.beyond))
    beyond = tuple(max(before.get(axis, 0), units.get(axis, 0)) for axis in range(axes))
    return value._replace(beyond=beyond)
