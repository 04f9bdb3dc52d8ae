"""A layer in its place in a network: the immutable graph that every analysis and picture reads.

A node computes its receptive fields when it is made, from its layer and its predecessors, and
never changes afterwards. Any node is a handle to the whole graph that it is connected with.
"""

from __future__ import annotations

import itertools
import math
import operator
import weakref
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import attrs

from rfa_toolbox import arithmetic, pixel_sets, unit_windows, views
from rfa_toolbox.arithmetic import Jump, LayerState, Paths, Size
from rfa_toolbox.domain import Certainty, PerAxis, Resolution
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import storage
from rfa_toolbox.graphs.fields import (
    InfoFilter,
    ReceptiveFieldInfo,
    filtered,
    infos_of,
    leaves_out_the_largest,
    noop_filter,
    paths_behind,
    resolve_filter,
)
from rfa_toolbox.graphs.layers import EVERYTHING, UNMEASURED, LayerDefinition, Measures
from rfa_toolbox.graphs.maps import Map, map_behind, map_steps, smallest_read, units_behind
from rfa_toolbox.graphs.places import (
    Places,
    extents_lost,
    places_behind,
    places_read,
    reads_of,
)
from rfa_toolbox.pixel_sets import Coverage, PixelSets
from rfa_toolbox.unit_windows import InputWindow, UnitWindows

__all__ = [
    "EnrichedNetworkNode",
    "Offsets",
    "ancestors",
    "copy_behind",
    "keep_together",
    "pixel_sets_of",
    "pixel_sets_per_axis",
    "receptive_field_provider",
    "receptive_field_provider_with_1x1_handling",
    "require_node",
    "require_nodes",
]

T = TypeVar("T")

_serial_numbers = itertools.count()
_CERTAINTIES: dict[str, int] = {"exact": 0, "bound": 1, "unknown": 2}


def receptive_field_provider(node: EnrichedNetworkNode) -> PerAxis | None:
    """Return the smallest receptive field of a node, the one that decides about its use.

    It holds at any resolution: behind a layer whose window grows with the image, such as
    adaptive pooling, it is infinite.

    >>> receptive_field_provider(EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), []))
    3
    """
    return node._collapse(arithmetic.smallest_field, node._lasting_paths)


def receptive_field_provider_with_1x1_handling(node: EnrichedNetworkNode) -> PerAxis | None:
    """Return the smallest receptive field, or None for a 1x1 layer, which never widens it.

    >>> node = EnrichedNetworkNode("pointwise", LayerDefinition("Conv", kernel_size=1), [])
    >>> receptive_field_provider_with_1x1_handling(node) is None
    True
    """
    kernel = node.layer_info.kernel_size
    is_1x1 = all(size == 1 for size in kernel) if isinstance(kernel, tuple) else kernel == 1
    return None if is_1x1 else receptive_field_provider(node)


_FIELDS = (
    *("_seen", "_near", "_paths", "_lasting_paths"),
    *("_uneven", "_plain", "_reduced", "resized_to"),
)
"""What a node that only passes on has from the one in front of it."""

FieldProvider: TypeAlias = "Callable[[EnrichedNetworkNode], PerAxis | None]"


class _Links:
    """What was built on top of a node; kept beside it, so that the node itself never changes."""

    __slots__ = ("companions", "successors")

    def __init__(self) -> None:
        self.successors: list[weakref.ref[EnrichedNetworkNode]] = []
        self.companions: tuple[EnrichedNetworkNode, ...] = ()


def _to_nodes(value: Iterable[EnrichedNetworkNode]) -> tuple[EnrichedNetworkNode, ...]:
    if type(value) is not tuple and not isinstance(value, Iterable):
        raise InvalidGraphError(
            f"The predecessors of a node are {value!r}; they must be a sequence of nodes: put a "
            "single one into a list, and give [] for a node that reads the image."
        )
    nodes = tuple(value)
    for node in nodes:
        if type(node) is not EnrichedNetworkNode and not isinstance(node, EnrichedNetworkNode):
            raise InvalidGraphError(
                f"A predecessor is {node!r}, {_a(node)}; every predecessor must be an "
                "EnrichedNetworkNode."
            )
    return nodes


def _a(value: object) -> str:
    """Return the name of a value's type with its article: "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def _to_filter(value: str | InfoFilter | None) -> InfoFilter:
    return resolve_filter(value, "receptive_field_info_filter")


Offsets: TypeAlias = "tuple[tuple[tuple[int | None, ...], ...], ...]"


def _to_offsets(value: Any) -> Offsets:
    if type(value) is tuple and not value:  # as most are
        return value
    try:
        return tuple(
            tuple(tuple(None if one is None else int(one) for one in read) for read in reads)
            for reads in value
        )
    except (TypeError, ValueError) as error:
        raise InvalidGraphError(
            f"The offsets of a node are {value!r}; they must be, per predecessor, a sequence of "
            "reads, each with one whole number (or None) per axis, such as [[(0, 0), (4, 4)]]."
        ) from error


def _check_layer(_node: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, LayerDefinition):
        raise InvalidGraphError(
            f"The layer_info of a node is {value!r}, {_a(value)}; it must be a LayerDefinition, "
            "such as LayerDefinition('Conv', kernel_size=3)."
        )


def _check_text(_node: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) and not (value is None and attribute.default is None):
        raise InvalidGraphError(f"The {attribute.name} of a node is {value!r}; it must be a text.")


def _check_measures(_node: object, _attribute: object, value: object) -> None:
    if type(value) is not Measures:
        raise InvalidGraphError(
            f"The measures of a node are {value!r}, {_a(value)}; they must be Measures, such as "
            "Measures(parameters=9408)."
        )


def _check_certainty(_node: object, _attribute: object, value: object) -> None:
    if not isinstance(value, str) or value not in _CERTAINTIES:
        raise InvalidGraphError(
            f"certainty is {value!r}; valid are {', '.join(map(repr, _CERTAINTIES))}."
        )


@attrs.frozen(slots=True, eq=False, repr=False, weakref_slot=True)
class EnrichedNetworkNode:
    """A layer in its place in a network, with the receptive fields of its units.

    Nodes are immutable, are equal only to themselves, and know the graph around them.

    Attributes:
        name: what to call this node; need not be unique.
        layer_info: what the layer does.
        predecessors: the nodes whose output this one reads, in order.
        receptive_field_info_filter: which paths to keep: a function from all of them to those
            that are kept, of which there must be one; or a name as in ``filter_rf``.
        module_path: dotted path of the module that the layer ran in, "" at top level, None for
            nodes made by hand.
        certainty: "exact", "bound" (the fields are upper bounds) or "unknown" (an operation that
            nothing knows was counted as neutral); never better than that of the predecessors.
        certainty_reason: why it is not exact.
        offsets: where the maps of the predecessors lie, if not unit upon unit: per predecessor
            one entry for each time that it is read, with the unit that this node's first unit
            stands at, per axis (None: not known). ``x[1:] + x[:-1]`` reads x at 1 and at 0. Empty
            stands for 0 everywhere. They do not change receptive fields, only ``window``. A
            predecessor without any read gives weights to the others, and is no path.
        measures: what the layer has and does at the input size that the graph was made with, as
            far as that is known; no part of the receptive field.

    Raises:
        InvalidGraphError: a ValueError, for predecessors that are no nodes, or whose number of
            axes differs, and for a filter that returns anything but valid paths.

    >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2), [image])
    >>> conv.receptive_field_max, conv.get_maximum_scale_factor()
    (3, 2)
    """

    name: str = attrs.field(validator=_check_text)
    layer_info: LayerDefinition = attrs.field(validator=_check_layer)
    predecessors: tuple[EnrichedNetworkNode, ...] = attrs.field(converter=_to_nodes)
    receptive_field_info_filter: InfoFilter = attrs.field(default=noop_filter, converter=_to_filter)
    module_path: str | None = attrs.field(default=None, validator=_check_text)
    certainty: Certainty = attrs.field(default="exact", validator=_check_certainty)
    certainty_reason: str = attrs.field(default="", validator=_check_text)
    offsets: Offsets = attrs.field(default=(), converter=_to_offsets)
    measures: Measures = attrs.field(default=UNMEASURED, validator=_check_measures)
    has_position: bool = attrs.field(init=False)
    """Whether units have a place in the image; see ``LayerDefinition.positionless``.

    What is computed from layers without one alone has none, either. Such a node has no receptive
    field: it sees no pixel (0), is no path for what reads it, and changes no range and no state.
    """
    resized_to: tuple[int, ...] | None = attrs.field(init=False)
    """Size of the map, per axis, that the model makes of any image before it looks at it.

    Such a model lives at that size: what holds at any resolution (``lasting_receptive_fields``,
    states, ranges of resolutions) is in pixels of the resized image, as if it were the input. None
    where the image keeps its size.
    """
    _paths: tuple[Paths, ...] = attrs.field(init=False)
    _lasting_paths: tuple[Paths, ...] = attrs.field(init=False)
    _seen: Places = attrs.field(init=False)
    _near: Places = attrs.field(init=False)
    _plain: bool = attrs.field(init=False)
    _uneven: bool = attrs.field(init=False)
    _reduced: bool = attrs.field(init=False)
    _scalar: bool = attrs.field(init=False)
    _serial: int = attrs.field(init=False)
    _links: _Links = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        placed = self._placed()
        axes = self._count_axes(placed)
        if self.offsets:
            self._check_offsets(axes or 1)
        setter = object.__setattr__
        setter(self, "_scalar", axes is None)
        if self.layer_info.positionless or (self.predecessors and not placed):
            self._stay_without_position(axes or 1)
        else:
            setter(self, "has_position", True)
            self._find_fields(placed, axes)
            self._inherit_certainty(placed)
        setter(self, "_serial", next(_serial_numbers))
        setter(self, "_links", _Links())
        own = weakref.ref(self)
        for node in dict.fromkeys(self.predecessors):
            node._links.successors.append(own)

    def _placed(self) -> tuple[EnrichedNetworkNode, ...]:
        """Return the predecessors that are paths: they have a place, and give more than weights."""
        reads = self.offsets or ((0,),) * len(self.predecessors)
        for node, places in zip(self.predecessors, reads, strict=False):
            if not (node.has_position and places):
                read = zip(self.predecessors, reads, strict=False)
                return tuple(one for one, offsets in read if one.has_position and offsets)
        return self.predecessors

    def _count_axes(self, placed: Sequence[EnrichedNetworkNode]) -> int | None:
        axes = self.layer_info.axes
        for node in placed:
            if not node._scalar:
                count = len(node._paths)
                if axes is None:
                    axes = count
                elif axes != count:
                    layer = self.layer_info
                    raise InvalidGraphError(
                        f"The node {self.name!r} mixes different numbers of axes: its layer has "
                        f"kernel_size={layer.kernel_size!r} and stride_size={layer.stride_size!r}, "
                        "its predecessors are "
                        f"{[(one.name, one.receptive_field_max) for one in placed]!r}."
                    )
        return axes

    def _stay_without_position(self, axes: int) -> None:
        setter = object.__setattr__
        setter(self, "has_position", False)
        setter(self, "_paths", ((),) * axes)
        setter(self, "_lasting_paths", self._paths)
        setter(self, "_seen", (unit_windows.NOTHING,) * axes)
        setter(self, "_near", self._seen)
        setter(self, "_plain", False)
        setter(self, "_uneven", False)
        setter(self, "_reduced", False)
        setter(self, "resized_to", None)
        setter(self, "certainty", "exact")
        setter(self, "certainty_reason", "")

    def _read_offsets(self) -> Offsets:
        return self._offsets_of(self._placed()) if self.offsets else ()

    def _offsets_of(self, read: Container[EnrichedNetworkNode]) -> Offsets:
        """Return the offsets of some of the predecessors."""
        if not self.offsets:
            return ()
        reads = zip(self.predecessors, self.offsets, strict=True)
        return tuple(offsets for node, offsets in reads if node in read and offsets)

    def _all_before(self) -> list[EnrichedNetworkNode]:
        """Return this node and all with a place that it depends on, as they were made."""
        found = {self}
        waiting = [self]
        while waiting:
            for before in waiting.pop()._placed():
                if before not in found:
                    found.add(before)
                    waiting.append(before)
        return sorted(found, key=lambda node: node._serial)

    def _find_fields(self, placed: Sequence[EnrichedNetworkNode], axes: int | None) -> None:
        layer, keep, setter = self.layer_info, self.receptive_field_info_filter, object.__setattr__
        if self._only_passes_on(placed, axes):
            for name in _FIELDS:
                setter(self, name, getattr(placed[0], name))
            return
        maps = [node._seen for node in placed]
        read = places_read(
            maps, self._read_offsets(), axes or 1, units=self._units_read(placed, axes or 1)
        )
        seen = places_behind(read, layer, axes or 1)
        before = [node._paths for node in placed]
        if None in seen:
            before = extents_lost(before, maps, seen, self._read_offsets())
        whole = paths_behind(before, layer, axes)
        paths = filtered(whole, keep, axes)
        setter(self, "_seen", seen)
        setter(self, "_paths", paths)
        setter(self, "_uneven", arithmetic.is_uneven(paths))
        plain = paths is whole and layer.sees_finitely and not layer.sees_all_at_any_size
        for node in placed:
            plain = plain and node._plain
        setter(self, "_plain", plain)
        if plain:  # as most nodes are: nothing is infinite, left out or of one size only
            setter(self, "_near", seen)
            setter(self, "_lasting_paths", paths)
            setter(self, "_reduced", False)
            setter(self, "resized_to", None)
        else:
            reduced = leaves_out_the_largest(whole, paths)
            setter(self, "_reduced", reduced or any(node._reduced for node in placed))
            self._find_lasting_fields(placed, axes)

    def _only_passes_on(self, placed: Sequence[EnrichedNetworkNode], axes: int | None) -> bool:
        """Whether units see what those of the only predecessor do, as behind an activation."""
        return (
            self.layer_info.stays
            and len(placed) == 1
            and not self.offsets
            and len(placed[0]._paths) == (axes or 1)
            and self.receptive_field_info_filter is noop_filter
            and not self.layer_info.sees_all_at_any_size
        )

    def _units_read(
        self, placed: Sequence[EnrichedNetworkNode], axes: int
    ) -> tuple[int, ...] | None:
        """Return for how many units there is something in all of several maps; None if unknown."""
        if len(placed) < 2:
            return None
        sizes = [node.measures.feature_map for node in placed]
        known = [size for size in sizes if size is not None and len(size) == axes]
        if len(known) < len(sizes):
            return None
        return smallest_read(known, self._read_offsets(), axes)

    def _find_lasting_fields(self, placed: Sequence[EnrichedNetworkNode], axes: int | None) -> None:
        """Find what holds at any resolution, beside what holds at this one."""
        layer, count, setter = self.layer_info, axes or 1, object.__setattr__
        if self._resizes_the_image(placed):
            setter(self, "resized_to", self.measures.feature_map)
            setter(self, "_near", (unit_windows.IMAGE,) * count)
            setter(self, "_lasting_paths", (arithmetic.INPUT_PATHS,) * count)
            return
        sizes = {node.resized_to for node in placed}
        setter(self, "resized_to", sizes.pop() if len(sizes) == 1 else None)
        if layer.sees_all_at_any_size:
            layer = EVERYTHING
        maps, before = [], []
        for node in placed:
            apart = node.resized_to != self.resized_to  # in pixels of another image
            maps.append((unit_windows.EVERYTHING,) * count if apart else node._near)
            before.append(((arithmetic.INFINITE_PATH,),) * count if apart else node._lasting_paths)
        units = self._units_read(placed, count)
        read = places_read(maps, self._read_offsets(), count, near=True, units=units)
        near = places_behind(read, layer, count)
        setter(self, "_near", near)
        paths = self._paths
        if layer is EVERYTHING or any(node._lasting_paths is not node._paths for node in placed):
            if None in near:
                before = extents_lost(before, maps, near, self._read_offsets())
            paths = paths_behind(before, layer, axes)
            paths = filtered(paths, self.receptive_field_info_filter, axes)
        setter(self, "_lasting_paths", paths)

    def _resizes_the_image(self, placed: Sequence[EnrichedNetworkNode]) -> bool:
        """Whether this layer makes a map of one size of any image, which nobody has looked at."""
        layer, units = self.layer_info, self.feature_map
        windows = any(slide.kernel > 1 or slide.stride > 1 for slide in layer.slides)
        return (
            layer.resolution_dependent
            and units is not None
            and len(units) == len(self._paths)
            and min(units) > 1
            and (windows or units == self.measures.encoded_resolution)  # else it is a crop
            and all(
                node.resized_to is None
                and all(paths == arithmetic.INPUT_PATHS for paths in node._lasting_paths)
                for node in placed
            )
        )

    def _check_offsets(self, axes: int) -> None:
        if len(self.offsets) != len(self.predecessors) or any(
            len(read) != axes for reads in self.offsets for read in reads
        ):
            raise InvalidGraphError(
                f"The node {self.name!r} has the offsets {self.offsets!r}; there must be one "
                f"entry for each of its {len(self.predecessors)} predecessors, and in it, for "
                f"each time that it is read, {axes} numbers, one per axis."
            )

    def _inherit_certainty(self, placed: Sequence[EnrichedNetworkNode]) -> None:
        layer = self.layer_info
        plain = layer.sees_finitely and layer.shortest_kernel_size is None
        if not plain and self._sees_everything():
            return
        worst: EnrichedNetworkNode | None = None
        for node in placed:
            if node.certainty != "exact" and (
                _CERTAINTIES[node.certainty] > _CERTAINTIES[(worst or self).certainty]
            ):
                worst = node
        if worst is not None:
            object.__setattr__(self, "certainty", worst.certainty)
            object.__setattr__(self, "certainty_reason", worst.certainty_reason)
        if self.certainty == "exact" and not self._grows_exactly(placed):
            object.__setattr__(self, "certainty", "bound")
            object.__setattr__(
                self,
                "certainty_reason",
                "units on an up-sampled map or behind windowed attention see windows of different "
                "size, and which of them this layer reaches depends on its padding",
            )

    def _grows_exactly(self, placed: Sequence[EnrichedNetworkNode]) -> bool:
        """Whether the field is the very largest window; see ``arithmetic.is_exact``."""
        layer = self.layer_info
        axes = len(self._paths)
        even = layer.stays or all(slide.upsampling == 1 for slide in layer.slides)
        if even and not any(node._uneven for node in placed):
            return True
        before = [node._paths for node in placed]
        kernels, strides, dilations, upsamplings = (
            arithmetic.broadcast(value, axes)
            for value in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
        )
        if layer.blockwise:
            strides = kernels
        return all(
            arithmetic.is_exact(
                path, kernels[axis], strides[axis], dilations[axis], upsamplings[axis]
            )
            for paths in before or [(arithmetic.INPUT_PATHS,)]
            for axis in range(axes)
            for path in paths[axis if len(paths) > 1 else 0]
        )

    def _sees_everything(self) -> bool:
        """Whether the field is infinite by this very layer, whatever came before."""
        kernel = self.layer_info.shortest_kernel_size or self.layer_info.kernel_size
        return (
            all(size == math.inf for size in kernel)
            if isinstance(kernel, tuple)
            else (kernel == math.inf)
        )

    # -- receptive fields

    @property
    def receptive_field_info(self) -> tuple[ReceptiveFieldInfo, ...]:
        """Receptive field and jump of the paths that decide: per jump the extremes."""
        return infos_of(self._paths, self._scalar)

    @property
    def receptive_field_sizes(self) -> tuple[Any, ...]:
        """Receptive fields of the paths in ``receptive_field_info``, in input pixels."""
        return tuple(info.receptive_field for info in self.receptive_field_info)

    @property
    def receptive_field_min(self) -> PerAxis:
        """Smallest receptive field over all paths, in input pixels, per axis."""
        return self._collapse(arithmetic.smallest_field, self._paths)

    @property
    def receptive_field_max(self) -> PerAxis:
        """All that a unit sees: the extent of the windows of all paths, in input pixels, per axis.

        It is that of the unit which sees most, from the first to the last pixel of any path. Where
        it is not known where units look, it is the field of the largest path.

        >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
        >>> reads = [[(0,), (4,)]]  # x[:-4] + x[4:]
        >>> EnrichedNetworkNode(
        ...     "add", LayerDefinition("Add", 1), [image], offsets=reads
        ... ).receptive_field_max
        5
        """
        if self.resized_to is not None:  # what they see near is in pixels of the resized image
            return self._extents(self._paths, self._seen)
        return self._extents(self._paths, self._seen, self._near)

    def _extents(self, paths: tuple[Paths, ...], *several: Places) -> PerAxis:
        sizes = tuple(
            self._extent(axis_paths, *(places[axis] for places in several))
            for axis, axis_paths in enumerate(paths)
        )
        return arithmetic.collapse_sizes(sizes, self._scalar)

    def _extent(self, paths: Paths, *places: UnitWindows | None) -> Size:
        largest = arithmetic.largest_field(paths)
        if self._reduced:  # a user's filter has the last word
            return largest
        sizes = [one.size for one in places if one is not None]
        return max([largest, *(size for size in sizes if size != math.inf)])

    def is_alike_along(self, axis: int, other: int) -> bool:
        """Whether what the layer does and sees at any resolution is the same along two axes.

        >>> layer = LayerDefinition("Conv", (3, 5))
        >>> EnrichedNetworkNode("conv", layer, []).is_alike_along(0, 1)
        False
        """
        if self._scalar:
            return True
        slides = self.layer_info.slides
        same = self.layer_info.axes is None or slides[axis] == slides[other]
        paths, near = self._lasting_paths, self._near
        return same and paths[axis] == paths[other] and near[axis] == near[other]

    def largest_finite_field(self, axis: int) -> Size:
        """Return the extent of the paths that are finite at any resolution, along an axis.

        0 if there is none. See ``lasting_paths``.
        """
        finite = arithmetic.finite_paths(self._lasting_paths[axis])
        return self._extent(finite, self._near[axis]) if finite else 0

    def _collapse(
        self, summary: Callable[[Paths], T], paths: tuple[Paths, ...]
    ) -> T | tuple[T, ...]:
        """Summarise the paths of every axis; a scalar graph has scalar summaries."""
        first, *more = paths
        found = summary(first)
        if self._scalar:
            return found
        return (found, *[found if axis == first else summary(axis) for axis in more])

    @property
    def paths(self) -> tuple[Paths, ...]:
        """The path states behind this node, one entry per axis (one in all if scalar)."""
        return self._paths

    @property
    def lasting_paths(self) -> tuple[Paths, ...]:
        """The path states that hold at any resolution, one entry per axis.

        They differ from ``paths`` only behind layers whose window grows with the image
        (``layer_info.resolution_dependent``): those count as infinite here.
        """
        return self._lasting_paths

    @property
    def lasting_receptive_fields(self) -> tuple[PerAxis, PerAxis]:
        """The smallest and the largest receptive field that hold at any resolution, in pixels.

        They are infinite behind a layer whose window grows with the image, such as adaptive
        pooling, and those of ``receptive_field_min`` and ``receptive_field_max`` elsewhere.

        >>> EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), []).lasting_receptive_fields
        (3, 3)
        """
        return (
            self._collapse(arithmetic.smallest_field, self._lasting_paths),
            self._extents(self._lasting_paths, self._near),
        )

    # -- where units look

    @property
    def unit_windows(self) -> tuple[UnitWindows | None, ...]:
        """What every unit sees, unit by unit over one period, one entry per axis (one if scalar).

        None on an axis where it is not known: behind a layer of unknown padding, or where branches
        meet whose jumps differ.

        >>> up = LayerDefinition("Upsample", kernel_size=2, padding=1, upsampling=2)
        >>> EnrichedNetworkNode("up", up, []).unit_windows
        (UnitWindows(advance=1, firsts=(0, 0), lasts=(0, 0)),)
        """
        return self._seen

    def branches(self, axis: int) -> list[UnitWindows | None]:
        """Return what the units see that this layer reads along an axis, one entry per read.

        Unit i of each of them is read for unit i of the grid that the layer slides over; None
        where that is not known. Empty for a layer that reads the image; what has no place in the
        image is left out.
        """
        return list(reads_of([node._seen for node in self._placed()], self._read_offsets(), axis))

    @property
    def window(self) -> InputWindow | None:
        """Where the units look on the input: start, size, jump and centre, in pixels per axis.

        None if it is not known on some axis (see ``unit_windows``), or there is none.

        >>> EnrichedNetworkNode("conv", LayerDefinition("Conv", 7, 2, padding=3), []).window
        InputWindow(start=(-3,), size=(7,), jump=(2,), centre=(Fraction(0, 1),))
        """
        windows = self.unit_windows
        known = [one for one in windows if one is not None]
        whole = len(known) == len(windows) and self.has_position
        return unit_windows.window_at(known) if whole else None

    def window_on(self, other: EnrichedNetworkNode) -> InputWindow | None:
        """Return where the units look on the map of a layer in front, in units of that map.

        Unit ``i`` sees its units ``start + i*jump`` to ``start + i*jump + size - 1``, per axis.
        For the input of a graph this is ``window``. None if it is not known on some axis.

        Raises:
            InvalidGraphError: a ValueError, if nothing of the other layer reaches this one, or one
                of them has no place in the image.

        >>> first = EnrichedNetworkNode("first", LayerDefinition("Conv", 3, 2, padding=1), [])
        >>> second = EnrichedNetworkNode("second", LayerDefinition("Conv", 5, padding=2), [first])
        >>> second.window_on(first)
        InputWindow(start=(-2,), size=(5,), jump=(1,), centre=(Fraction(0, 1),))
        """
        require_node(other)
        axes = len(self._paths)
        found: dict[EnrichedNetworkNode, Places] = {other: (unit_windows.IMAGE,) * axes}
        for node in self._all_before():
            if node is not other and any(before in found for before in node._placed()):
                reads = [before for before in node._placed() if before in found]
                read = places_read([found[one] for one in reads], node._offsets_of(found), axes)
                found[node] = places_behind(read, node.layer_info, axes)
        if self not in found or not self.has_position:
            raise InvalidGraphError(
                f"Nothing of {other.name!r} reaches {self.name!r} with its place; ask a layer "
                "behind it on the same branch."
            )
        known = [one for one in found[self] if one is not None]
        return unit_windows.window_at(known) if len(known) == axes else None

    def coverage(self, axis: int = 0, unit: int = 0) -> Coverage:
        """Return which pixels a unit really sees along an axis; dilation can leave holes.

        Args:
            axis: the spatial axis, 0 for the height.
            unit: index of the unit along this axis. Units differ only on up-sampled maps.

        Raises:
            InvalidGraphError: a ValueError, if it is not known where units look, if they see
                everything, or if windows are too large to be followed pixel by pixel.

        >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
        >>> conv = LayerDefinition("Conv", 3, dilation=2, padding=2)
        >>> last = EnrichedNetworkNode("b", conv, [EnrichedNetworkNode("a", conv, [image])])
        >>> last.coverage().pixels, last.coverage().misses, last.receptive_field_max
        ((-4, -2, 0, 2, 4), 4, 9)
        """
        axes = len(self._paths)
        if type(axis) is not int or not 0 <= axis < axes:
            raise InvalidGraphError(
                f"axis is {axis!r}; {self.name!r} has the axes 0 to {axes - 1}."
            )
        if self.known_unit_windows()[axis].size in (0, math.inf):
            raise InvalidGraphError(
                f"The units of {self.name!r} see everything along axis {axis}, or nothing; there "
                "is nothing in between that they could miss."
            )
        sets = pixel_sets_of(self._all_before(), axis)[self]
        if sets is None:
            raise InvalidGraphError(
                f"The windows of {self.name!r} are too large along axis {axis} to be followed "
                f"pixel by pixel: {self.known_unit_windows()[axis].size} pixels; ask a layer in "
                "front."
            )
        return pixel_sets.coverage_of(sets, *_one_per_axis(unit, 1, "The index of a unit"))

    def input_region(
        self, position: Resolution, image_size: Resolution | None = None
    ) -> tuple[tuple[Size, Size], ...]:
        """Return the first and the last pixel that a unit sees, per axis.

        Args:
            position: index of the unit on its map, one number, or one per axis (row, column).
            image_size: clip the region to an image of this many pixels, (height, width). An axis
                along which the unit sees nothing but padding is then an error.

        Raises:
            InvalidGraphError: a ValueError, if the window is not known, or sees nothing at all.

        >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7, 2, padding=3), [])
        >>> conv.input_region(0), conv.input_region(0, image_size=32)
        (((-3, 3),), ((0, 3),))
        """
        windows = self.known_unit_windows()
        units = _one_per_axis(position, len(windows), "The position of a unit")
        regions = [
            unit_windows.region_of(one, unit) for one, unit in zip(windows, units, strict=True)
        ]
        if image_size is not None:
            sizes = arithmetic.normalise_resolution(image_size, len(windows))
            regions = [
                (max(first, 0), min(last, size - 1))
                for (first, last), size in zip(regions, sizes, strict=True)
            ]
        if any(first > last for first, last in regions):
            where = "" if image_size is None else f" of an image of {image_size!r} pixels"
            raise InvalidGraphError(
                f"The unit {position!r} of {self.name!r} sees no pixel{where}: choose one whose "
                "region is not all padding."
            )
        return tuple(regions)

    def units_seeing(self, pixel: Resolution) -> tuple[range, ...]:
        """Return the units whose window has a pixel in it, per axis: the projective field.

        They are counted from 0; where the size of the map is known, they end there, otherwise the
        map is taken to be large enough.

        Raises:
            InvalidGraphError: a ValueError, if the window is not known, or all units see all.

        >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2, padding=1), [])
        >>> conv.units_seeing(5)
        (range(2, 4),)
        """
        pixels = _one_per_axis(pixel, len(self._paths), "A pixel")
        return self.units_touching([(at, at) for at in pixels])

    def units_touching(self, box: Sequence[tuple[int, int]]) -> tuple[range, ...]:
        """Return the units whose window has a pixel of a box in it, per axis.

        ``box`` has the first and the last pixel, both included, of every axis. Otherwise as
        ``units_seeing``.

        >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2, padding=1), [])
        >>> conv.units_touching([(4, 9)])
        (range(2, 6),)
        """
        found: list[range] = []
        windows = self.known_unit_windows()
        for axis, (one, (first, last)) in enumerate(zip(windows, box, strict=True)):
            if one.size == math.inf:
                raise InvalidGraphError(
                    f"Every unit of {self.name!r} sees every pixel along axis {axis} (or all on "
                    "one side), however many there are; ask a layer in front of the one that sees "
                    "everything."
                )
            ends = unit_windows.units_that_see(one, first, last)
            stop = 0 if ends is None else max(0, ends[1] + 1)
            found.append(range(max(0, ends[0]) if stop else 0, stop))  # type: ignore[index]
        return tuple(found)

    def known_unit_windows(self) -> list[UnitWindows]:
        """Return ``unit_windows``, which must be known on every axis.

        Raises:
            InvalidGraphError: a ValueError, if they are not.
        """
        known = [one for one in self.unit_windows if one is not None]
        if len(known) < len(self._paths):
            raise InvalidGraphError(
                f"It is not known where the units of {self.name!r} look: a layer in front has no "
                "known padding, or branches of different jumps meet there. Give layers that were "
                "made by hand their padding, as in LayerDefinition('Conv', 3, padding=1)."
            )
        return known

    @property
    def lasting_unit_windows(self) -> tuple[UnitWindows | None, ...]:
        """What the units see over the paths that are finite at any resolution, per axis.

        They differ from ``unit_windows`` behind what sees everything, beside which there is a way
        that does not, as beside an attention. ``EVERYTHING`` where there is none.

        >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
        >>> mixed = EnrichedNetworkNode("mix", LayerDefinition("Attention", math.inf), [image])
        >>> residual = EnrichedNetworkNode("add", LayerDefinition("Add", 1), [image, mixed])
        >>> residual.unit_windows[0].size, residual.lasting_unit_windows[0].size
        (inf, 1)
        """
        return self._near

    @property
    def axes(self) -> int | None:
        """Number of spatial axes; None where every number is a scalar that holds for any axis."""
        return None if self._scalar else len(self._paths)

    # -- the layer

    @property
    def kernel_size(self) -> Any:
        """Kernel size of the layer; inf where every position sees every other one."""
        return self.layer_info.kernel_size

    @property
    def stride_size(self) -> Any:
        """Stride of the layer."""
        return self.layer_info.stride_size

    # -- what the layer costs

    @property
    def encoded_resolution(self) -> tuple[int, ...] | None:
        """Size of the input that the graph was made with, in pixels per axis; None if unknown."""
        return self.measures.encoded_resolution

    @property
    def feature_map(self) -> tuple[int, ...] | None:
        """Units of the output per axis at ``encoded_resolution``; None if unknown."""
        return self.measures.feature_map

    @property
    def parameters(self) -> int | None:
        """Number of parameters that this node is the first one to use; None if unknown.

        >>> layer = LayerDefinition("Dense", units=10)
        >>> EnrichedNetworkNode("dense", layer, [], measures=Measures(parameters=5130)).parameters
        5130
        """
        return self.measures.parameters

    @property
    def multiply_accumulates(self) -> int | None:
        """Multiply-accumulates at ``encoded_resolution``; None if unknown.

        Those of convolutions and dense products count, as in published tables.
        """
        return self.measures.multiply_accumulates

    # -- feature maps and states

    def get_maximum_scale_factor(self) -> Jump | tuple[Jump | None, ...] | None:
        """Return the largest jump over all finite paths, in input pixels; None if there is none.

        >>> EnrichedNetworkNode("dense", LayerDefinition("Dense"), []).get_maximum_scale_factor()
        """
        return self._collapse(arithmetic.largest_jump, self._paths)

    def compute_feature_map_size(self, input_resolution: Resolution) -> Any:
        """Return the size of the feature map for an input resolution in pixels, per axis.

        It is 1 on axes where every path is infinite.

        >>> pool = EnrichedNetworkNode("pool", LayerDefinition("Pool", 2, 2), [])
        >>> pool.compute_feature_map_size(9), pool.compute_feature_map_size((9, 6))
        (4, (4, 3))
        """
        resolution = arithmetic.normalise_resolution(input_resolution, self.axes)
        jumps = arithmetic.broadcast(self.get_maximum_scale_factor(), len(resolution))
        sizes = tuple(
            1 if jump is None else max(1, int(pixels // jump))
            for pixels, jump in zip(resolution, jumps, strict=True)
        )
        scalar = self._scalar and not isinstance(input_resolution, Iterable)
        return arithmetic.collapse_sizes(sizes, scalar)

    def feature_map_at(self, input_resolution: Resolution) -> tuple[int, ...]:
        """Return the size of the feature map for an input resolution in pixels, one per axis.

        Unlike ``compute_feature_map_size``, which divides by the jump, it counts units from
        kernels, strides and paddings, layer by layer. It is exact where the model does the same at
        every size, with ``ceil_mode`` and with Keras' ``padding="same"`` as well; one whose code
        pads or crops by the size of its input is taken to do as at the size that the graph was made
        with.

        Raises:
            InvalidGraphError: a ValueError, if the padding of a layer made by hand is not known.
            InvalidResolutionError: a ValueError, if the input is too small for a layer.

        >>> image = EnrichedNetworkNode("sound", LayerDefinition("Input", 1, 1), [])
        >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 10, 5, padding=0), [image])
        >>> conv.feature_map_at(16000), conv.compute_feature_map_size(16000)
        ((3199,), 3200)
        """
        resolution = arithmetic.normalise_resolution(input_resolution, len(self._paths))
        sizes, least = self._maps_at(resolution)
        if min(least) < 1:
            raise InvalidResolutionError(
                f"The input resolution is {input_resolution!r}; a layer in front of {self.name!r}, "
                f"or itself, has nothing to make of it. {self.shortest_input()!r} is the smallest."
            )
        return sizes

    def shortest_input(self) -> tuple[int, ...]:
        """Return the smallest input, in pixels per axis, for which there is at least one unit.

        For a network without any padding this is its receptive field. See ``feature_map_at``.

        >>> image = EnrichedNetworkNode("sound", LayerDefinition("Input", 1, 1), [])
        >>> layer = LayerDefinition("Conv", 10, 5, padding=0)
        >>> EnrichedNetworkNode("conv", layer, [image]).shortest_input()
        (10,)
        """
        axes = len(self._paths)
        shortest: list[int] = []
        for axis in range(axes):
            enough = 1
            while self._maps_at((enough,) * axes)[1][axis] < 1:
                enough *= 2
            low = enough // 2  # too small, or 0
            while enough - low > 1:
                middle = (low + enough) // 2
                if self._maps_at((middle,) * axes)[1][axis] < 1:
                    low = middle
                else:
                    enough = middle
            shortest.append(enough)
        return tuple(shortest)

    def _maps_at(self, resolution: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the own feature map, and the smallest one on the way to it, at a resolution."""
        nodes = self._all_before()
        found: dict[EnrichedNetworkNode, tuple[Map, ...]] = {}
        for node in nodes:
            found[node] = node._maps_behind(found, resolution)
        own = tuple(now for _, (now,) in found[self])
        return own, tuple(
            min(found[node][axis][1][0] for node in nodes) for axis in range(len(resolution))
        )

    def _maps_behind(
        self, found: Mapping[EnrichedNetworkNode, tuple[Map, ...]], resolution: tuple[int, ...]
    ) -> tuple[Map, ...]:
        layer, before = self.layer_info, [found[node] for node in self._placed()]
        encoded, units = self.encoded_resolution, self.feature_map
        axes = range(len(resolution))
        if encoded is not None and units is not None and len(units) == len(resolution):
            image = tuple((encoded[axis], (resolution[axis],)) for axis in axes)
            flags = (layer.resolution_dependent, layer.blockwise)
            return tuple(
                units_behind(
                    step, flags, units[axis], tuple(one[axis] for one in before or [image])
                )
                for axis, step in enumerate(map_steps(layer, len(resolution)))
            )
        sizes = resolution
        if before:
            several = [tuple(now for _, (now,) in one) for one in before]
            sizes = smallest_read(several, self._read_offsets(), len(resolution))
        made = [size for size in map_behind(layer, sizes) if size is not None]
        if len(made) < len(sizes):
            raise InvalidGraphError(
                f"The padding of {self.name!r} is not known, and so is not how large its map is; "
                "give it to the layer, as in LayerDefinition('Conv', 3, padding=1)."
            )
        return tuple((size, (size,)) for size in made)

    def state(
        self,
        input_resolution: Resolution,
        receptive_field_provider: FieldProvider = receptive_field_provider,
        filter_kernel_size_1: bool = False,
    ) -> LayerState:
        """Return how useful this layer can be at an input resolution in pixels.

        Args:
            input_resolution: one number, or one per axis (height, width).
            receptive_field_provider: which field to judge a node by; None: do not judge it.
            filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.

        Raises:
            InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

        >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
        >>> conv.state(8), conv.state((7, 7)), conv.state((7, 32))
        ('productive', 'unproductive', 'productive')
        """
        resolution = arithmetic.normalise_resolution(input_resolution, self.axes)
        return arithmetic.layer_state(
            resolution,
            *self._judged_by(len(resolution), receptive_field_provider, filter_kernel_size_1),
        )

    def unproductive_resolution(
        self,
        receptive_field_provider: FieldProvider = receptive_field_provider,
        filter_kernel_size_1: bool = False,
    ) -> Size:
        """Return the largest resolution in pixels at which this layer is unproductive.

        It is meant for images as high as wide. At every smaller resolution the layer is
        unproductive too; 0 means at none, inf at all.

        >>> EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), []).unproductive_resolution()
        7
        """
        return arithmetic.unproductive_up_to(
            *self._judged_by(len(self._paths), receptive_field_provider, filter_kernel_size_1)
        )

    def unproductive_limits(
        self, filter_kernel_size_1: bool = False
    ) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
        """Return up to which resolution each of two rules calls this layer unproductive, per axis.

        The first rule is that everything in front of the layer, and the layer itself, has seen
        the whole image; the second that the feature map is not larger than the window. A rule
        holds where the resolution in pixels is at most its limit on every axis; then ``state``
        is unproductive. 0 is never, inf always. There is one axis where ``axes`` is None.

        >>> EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), []).unproductive_limits()
        ((1,), (7,))
        """
        return arithmetic.unproductive_limits(
            *self._judged_by(len(self._paths), receptive_field_provider, filter_kernel_size_1)
        )

    def _judged_by(
        self, axes: int, provider: FieldProvider, filter_kernel_size_1: bool
    ) -> tuple[
        tuple[Size, ...] | None,
        list[tuple[Size, ...]],
        list[tuple[Jump | None, ...]],
        tuple[Size, ...],
    ]:
        """Return what ``arithmetic.layer_state`` judges by.

        These are the own field, the fields and jumps in front (those of the image where nothing
        is in front), and the window.
        """
        if not callable(provider):
            raise InvalidGraphError(
                f"receptive_field_provider is {provider!r}; it must be a function from a node to "
                "its receptive field (None for a node that is not to be judged), such as "
                "receptive_field_provider."
            )
        layer = self.layer_info
        if not self.has_position:
            return None, [], [], (math.inf,) * axes  # no rule applies
        size = provider(self)
        field = None if size is None else arithmetic.broadcast(size, axes)
        fields: list[tuple[Size, ...]] = []
        jumps: list[tuple[Jump | None, ...]] = []
        for node in self._placed():
            fields.append(arithmetic.broadcast(_judged_field(node, provider), axes))
            jumps.append(
                arithmetic.broadcast(
                    node._collapse(arithmetic.largest_jump, node._lasting_paths), axes
                )
            )
        kernels = arithmetic.broadcast(layer.kernel_size, axes)
        if filter_kernel_size_1 and all(kernel == 1 for kernel in kernels):
            fields = [(0,) * axes]  # less than any image: never seen as a whole
        window = (math.inf,) * axes if layer.covers_map else layer.window(axes)
        return field, fields or [(1,) * axes], jumps or [(1,) * axes], window

    def is_border(
        self,
        input_resolution: Resolution,
        receptive_field_provider: FieldProvider = receptive_field_provider,
        filter_kernel_size_1: bool = False,
    ) -> bool:
        """Return whether this layer is unproductive at an input resolution in pixels.

        >>> EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), []).is_border(5)
        True
        """
        return (
            self.state(input_resolution, receptive_field_provider, filter_kernel_size_1)
            == "unproductive"
        )

    def is_in(self, container: Iterable[Any]) -> bool:
        """Return whether this very node is in a container (equal names do not count)."""
        return any(node is self for node in container)

    # -- the graph around

    @property
    def successors(self) -> tuple[EnrichedNetworkNode, ...]:
        """The living nodes that read this one, in the order in which they were made."""
        found = [reference() for reference in self._links.successors]
        return tuple([node for node in found if node is not None])

    @property
    def succecessors(self) -> tuple[EnrichedNetworkNode, ...]:
        """The predecessor's spelling of ``successors``."""
        return self.successors

    @property
    def all_layers(self) -> list[EnrichedNetworkNode]:
        """Every node that is connected with this one, predecessors before their successors."""
        return list(_connected(self))

    def __repr__(self) -> str:
        return (
            f"EnrichedNetworkNode({self.name!r}, {self.layer_info.name}, kernel_size="
            f"{self.kernel_size}, stride_size={self.stride_size}, receptive_field_min="
            f"{self.receptive_field_min}, receptive_field_max={self.receptive_field_max})"
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return views.bundle(self, repr(self))

    # -- copies and stored forms

    def __copy__(self) -> EnrichedNetworkNode:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        snapshot, position = _snapshot_of(self)
        return _node_from_snapshot, (snapshot, position)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole graph around this node as plain values that JSON can hold.

        >>> node = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [])
        >>> EnrichedNetworkNode.from_dict(node.to_dict()).receptive_field_max
        3
        """
        nodes = _connected(self)
        return storage.to_dict(_rows_of(nodes), nodes.index(self))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> EnrichedNetworkNode:
        """Make a whole graph from what ``to_dict`` returned; returns the node it was called on.

        Raises:
            GraphFormatError: a ValueError, for an unknown version, a cycle, a missing node or
                anything else that no graph can have.
        """
        nodes, position = storage.from_dict(config, cls)
        keep_together(list(nodes.values()))
        return nodes[position]


def _judged_field(node: EnrichedNetworkNode, provider: FieldProvider) -> PerAxis:
    """Return what a provider says of a node, or its smallest field if it says nothing."""
    size = provider(node)
    return node._collapse(arithmetic.smallest_field, node._lasting_paths) if size is None else size


def _one_per_axis(value: Any, axes: int, what: str) -> tuple[int, ...]:
    several = tuple(value) if isinstance(value, Iterable) else (value,) * axes
    if len(several) != axes or any(
        isinstance(one, bool) or not hasattr(one, "__index__") for one in several
    ):
        raise InvalidGraphError(
            f"{what} is {value!r}; it must be a whole number, or one for each of the {axes} axes."
        )
    return tuple(map(operator.index, several))


def pixel_sets_of(
    nodes: Iterable[EnrichedNetworkNode], axis: int
) -> dict[EnrichedNetworkNode, PixelSets | None]:
    """Return which pixels every unit of some nodes sees along an axis.

    All that they depend on must be among them, predecessors first. None where units see everything,
    where it is not known where they look, or where that is too much to follow.
    """
    found: dict[EnrichedNetworkNode, PixelSets | None] = {}
    for node in nodes:
        placed = node._placed()
        position = axis if len(node._paths) > 1 else 0
        if not node.has_position:
            found[node] = None
            continue
        reads: list[PixelSets | None] = []
        for before, offsets in itertools.zip_longest(placed, node._read_offsets()):
            for read in offsets if node.offsets else ((0,) * (position + 1),):
                one, offset = found[before], read[position]
                known = one is not None and offset is not None
                reads.append(pixel_sets.shifted(one, offset) if known else None)  # type: ignore[arg-type]
        sets = pixel_sets.joined(reads) if placed else pixel_sets.IMAGE
        slide = node.layer_info.slides[position if node.layer_info.axes else 0]
        if sets is None or slide.kernel == math.inf or slide.begin is None:
            found[node] = None
        elif node.layer_info.blockwise:
            found[node] = pixel_sets.seen_in_blocks(sets, int(slide.kernel), slide.begin)
        else:
            found[node] = pixel_sets.slid(
                sets,
                int(slide.kernel),
                slide.stride,
                slide.dilation,
                slide.upsampling,
                slide.begin,
            )
    return found


def pixel_sets_per_axis(
    nodes: Sequence[EnrichedNetworkNode], axes: int
) -> list[dict[EnrichedNetworkNode, PixelSets | None]]:
    """Return ``pixel_sets_of`` per axis; axes along which all layers do the same share them."""
    found = [pixel_sets_of(nodes, 0)]
    for axis in range(1, axes):
        same = all(_reads_alike(node, axis) for node in nodes)
        found.append(found[0] if same else pixel_sets_of(nodes, axis))
    return found


def _reads_alike(node: EnrichedNetworkNode, axis: int) -> bool:
    """Whether a layer reads what is in front of it in the same way along the first axis and one."""
    if node._scalar:
        return True
    slides = node.layer_info.slides
    same = node.layer_info.axes is None or slides[0] == slides[axis]
    return same and all(read[0] == read[axis] for reads in node.offsets for read in reads)


def _connected(start: EnrichedNetworkNode) -> list[EnrichedNetworkNode]:
    """Return the whole graph around a node in the order in which it was built."""
    found = {start}
    waiting = [start]
    while waiting:
        node = waiting.pop()
        links = node._links
        behind = [reference() for reference in links.successors]
        for near in (*node.predecessors, *behind, *links.companions):
            if near not in found and near is not None:
                found.add(near)
                waiting.append(near)
    return sorted(found, key=operator.attrgetter("_serial"))


def ancestors(node: EnrichedNetworkNode) -> set[EnrichedNetworkNode]:
    """Return a node, and all that it depends on.

    >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1), [])
    >>> ancestors(EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [image])) > {image}
    True
    """
    found, waiting = {node}, [node]
    while waiting:
        new = [one for one in waiting.pop().predecessors if one not in found]
        found.update(new)
        waiting.extend(new)
    return found


def require_node(value: Any) -> EnrichedNetworkNode:
    """Return a node as it is; refuse what is none, such as a model that no encoder has read.

    What merely has the attributes of a node (``rfa_toolbox.domain.Node``) passes as well.

    >>> require_node(None)
    Traceback (most recent call last):
    rfa_toolbox.errors.InvalidGraphError: Expected is a node of a graph, but this is None; make a \
graph of a model first, with create_graph_from_pytorch_model or create_graph_from_tensorflow_model.
    """
    if isinstance(value, EnrichedNetworkNode) or hasattr(value, "layer_info"):
        node: EnrichedNetworkNode = value
        return node
    raise InvalidGraphError(
        f"Expected is a node of a graph, but this is {'None' if value is None else _a(value)}; "
        "make a graph of a model first, with create_graph_from_pytorch_model or "
        "create_graph_from_tensorflow_model."
    )


def require_nodes(value: Any) -> list[EnrichedNetworkNode]:
    """Return nodes as a list; refuse what is none, and a single node."""
    if isinstance(value, EnrichedNetworkNode):
        raise InvalidGraphError(
            f"Expected are several nodes, but this is {value!r}; obtain_all_nodes(node) returns "
            "those of its graph."
        )
    if not isinstance(value, Iterable):
        require_node(value)
    return [require_node(node) for node in value]


def copy_behind(
    node: EnrichedNetworkNode, predecessors: Sequence[EnrichedNetworkNode]
) -> EnrichedNetworkNode:
    """Return a copy of a node that reads copies of what the node reads; nothing is found anew.

    >>> first = EnrichedNetworkNode("first", LayerDefinition("Conv", 3), [])
    >>> second = EnrichedNetworkNode("second", LayerDefinition("Conv", 3), [first])
    >>> copy_behind(second, [copy_behind(first, [])]).receptive_field_max
    5
    """
    new: EnrichedNetworkNode = object.__new__(type(node))
    setter = object.__setattr__
    for name in _COPIED:
        setter(new, name, getattr(node, name))
    setter(new, "predecessors", tuple(predecessors))
    setter(new, "_serial", next(_serial_numbers))
    setter(new, "_links", _Links())
    own = weakref.ref(new)
    for before in dict.fromkeys(new.predecessors):
        before._links.successors.append(own)
    return new


_COPIED = tuple(
    field.name
    for field in attrs.fields(EnrichedNetworkNode)
    if field.name not in {"predecessors", "_serial", "_links"}
)


def keep_together(nodes: Sequence[EnrichedNetworkNode]) -> None:
    """Let every one of these nodes keep the others alive, as the parts of one finished graph.

    A node holds its predecessors, but only weakly what was built on top of it. A graph that was
    made as a whole stays whole as long as any of its nodes is in use.
    """
    ends = tuple(node for node in nodes if not node._links.successors)
    for node in nodes:
        node._links.companions = ends


# --- copies ----------------------------------------------------------------------------------


def _rows_of(nodes: Sequence[EnrichedNetworkNode]) -> list[storage.Row]:
    index = {node: position for position, node in enumerate(nodes)}
    return [
        storage.Row(
            node.name,
            node.layer_info,
            tuple(index[before] for before in node.predecessors),
            node.receptive_field_info_filter,
            node.module_path,
            node.certainty,
            node.certainty_reason,
            node.offsets,
            node.measures,
        )
        for node in nodes
    ]


def _nodes_of(rows: Sequence[storage.Row]) -> list[EnrichedNetworkNode]:
    nodes: list[EnrichedNetworkNode] = []
    for name, layer, before, *rest in rows:
        nodes.append(EnrichedNetworkNode(name, layer, [nodes[index] for index in before], *rest))
    keep_together(nodes)
    return nodes


class _Snapshot:
    """A graph as flat rows, so that pickling and copying never recurse over it."""

    __slots__ = ("__weakref__", "nodes", "rows")

    def __init__(self, nodes: Sequence[EnrichedNetworkNode] | None, rows: list[storage.Row]):
        self.nodes = nodes
        self.rows = rows

    def __reduce__(self) -> tuple[Any, ...]:
        return _Snapshot, (None, self.rows)

    def restored(self) -> Sequence[EnrichedNetworkNode]:
        if self.nodes is None:
            self.nodes = _nodes_of(self.rows)
        return self.nodes


_snapshots: weakref.WeakValueDictionary[tuple[int, int, int], _Snapshot] = (
    weakref.WeakValueDictionary()
)


def _snapshot_of(node: EnrichedNetworkNode) -> tuple[_Snapshot, int]:
    """Return a graph's rows and the node's place in them; nodes of one graph share the rows."""
    nodes = _connected(node)
    key = (nodes[0]._serial, nodes[-1]._serial, len(nodes))
    snapshot = _snapshots.get(key)
    if snapshot is None:
        snapshot = _snapshots[key] = _Snapshot(None, _rows_of(nodes))
    return snapshot, nodes.index(node)


def _node_from_snapshot(snapshot: _Snapshot, position: int) -> EnrichedNetworkNode:
    return snapshot.restored()[position]
