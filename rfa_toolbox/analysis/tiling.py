"""Tiled inference: which tiles to cut, and what to keep of each, so that nothing changes.

A unit comes out of a tile as it does out of the whole image if the tile holds all that the unit
sees, or ends where the image ends. The windows of the output say which units these are, and the
grids of all the layers in between say where a tile may start.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.graphs.maps import map_behind
from rfa_toolbox.unit_windows import UnitWindows

__all__ = ["Tile", "TilePlan", "tile_plan"]


@attrs.frozen(slots=True)
class Tile:
    """One tile: what to cut, what to keep of its output, and where that belongs.

    Every attribute holds one slice per spatial axis. Those of the last tile along an axis end
    openly, as the output does.

    Attributes:
        source: pixels of the image to run the network on.
        keep: units of the tile's output that are right.
        target: where those units belong in the output of the whole image.
    """

    source: tuple[slice, ...]
    keep: tuple[slice, ...]
    target: tuple[slice, ...]


@attrs.frozen(slots=True)
class TilePlan:
    """How to run a network on an image tile by tile.

    Attributes:
        tile_size: pixels of a tile, per axis; the last tile may be smaller.
        overlap: pixels that neighbouring tiles share, per axis (0 if one tile covers the axis).
        margin: how far a unit of the output looks beyond its own share of the image, in front and
            behind, in pixels per axis. Tiles must overlap by at least both together.
        alignment: tiles start at multiples of this many pixels, per axis.
        tiles: the tiles, row by row.
        differences: why the result differs from that of the whole image, layer by layer; nothing
            if it is equal.
    """

    tile_size: tuple[int, ...]
    overlap: tuple[int, ...]
    margin: tuple[tuple[int, int], ...]
    alignment: tuple[int, ...]
    tiles: tuple[Tile, ...]
    differences: tuple[str, ...] = ()


def tile_plan(
    node: EnrichedNetworkNode,
    image_size: Resolution,
    tile_size: Resolution,
    *,
    approximate: bool = False,
) -> TilePlan:
    """Return the tiles with which tiled inference gives what the whole image would give.

    For every tile run the network on ``image[..., *tile.source]`` and put
    ``output[..., *tile.keep]`` into ``result[..., *tile.target]``.

    Args:
        node: the node whose output is wanted; the encoders return that of the first output.
        image_size: pixels of the whole image, one number, or one per axis (height, width), which
            is also the order of the slices, wherever the output has these axes.
        tile_size: how large tiles may be. They are made a little smaller where needed, so that
            paddings that depend on the size stay what they are on the whole image.
        approximate: plan for networks, too, of which some layers depend on the whole image, as
            norms over space, gates and attention do. Margins are then those of all that is finite,
            and ``differences`` of the plan says which layers take a tile for the image.

    Raises:
        InvalidGraphError: a ValueError, if some layer depends on the whole image, also in a way
            that receptive fields do not count (squeeze-and-excitation, group norm), or if it is
            not known where units look: then no margin makes tiles equal to the whole.
            A layer that a handler of yours describes is refused only if that says so.
        InvalidResolutionError: a ValueError, if tiles are too small to get ahead, or if the graph
            was made for an input whose size leaves another rest than the image, so that paddings
            and crops may be others.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7, padding=3), [])
    >>> [(tile.source[0], tile.keep[0]) for tile in tile_plan(conv, 20, 14).tiles]
    [(slice(0, 14, None), slice(0, 11, None)), (slice(6, 20, None), slice(5, None, None))]
    """
    require_node(node)
    node = _with_blocks_counted(node)
    before, differences = _all_before(node), []
    if approximate:
        differences = [said for one in before if (said := _difference(one))]
        before = [one for one in before if _is_finite(one)]
    else:
        _require_exact(node, before)
    windows = _windows_of(node)
    _require_finite(node, windows)
    images = arithmetic.normalise_resolution(image_size, len(windows), "image_size")
    wanted = arithmetic.normalise_resolution(tile_size, len(windows), "tile_size")
    along = [
        _plan_along(before, axis, *sizes)
        for axis, sizes in enumerate(zip(images, wanted, strict=True))
    ]
    several = itertools.product(*(one.parts for one in along))
    tiles = tuple(Tile(*zip(*parts, strict=True)) for parts in several)
    return TilePlan(
        tile_size=tuple(one.size for one in along),
        overlap=tuple(one.overlap for one in along),
        margin=tuple(one.margin for one in along),
        alignment=tuple(one.alignment for one in along),
        tiles=tiles,
        differences=tuple(differences) if len(tiles) > 1 else (),
    )


@attrs.frozen
class _AxisPlan:
    """A plan along one axis: each part is what to cut, what to keep of it, and where it belongs."""

    size: int
    overlap: int
    margin: tuple[int, int]
    alignment: int
    parts: list[tuple[slice, slice, slice]]


def _plan_along(
    before: Sequence[EnrichedNetworkNode], axis: int, image: int, wanted: int
) -> _AxisPlan:
    *_, node = before
    windows, made = _along(node, axis), node.encoded_resolution
    alignment = math.lcm(*(_along(every, axis).advance for every in before))
    margin = _margin(windows)
    size = min(image, _fitting(wanted, image, alignment))
    encoded = image if made is None else made[axis]
    if size < image and (image - encoded) % alignment:
        raise InvalidResolutionError(
            f"image_size is {image} along axis {axis}, but the graph was made for {encoded} pixels "
            f"along axis {axis}, which leaves another rest after division by {alignment}; "
            "paddings and crops may be others there. Make the graph for the size of the image."
        )
    first, behind = right = _right_units(before, axis, size)
    step = _own(windows, alignment)
    if size < image and behind - first < step:
        least = min(image, size - (behind - first - step) // step * alignment)
        raise InvalidResolutionError(
            f"tile_size is {wanted} along axis {axis}; there a tile needs at least {least} "
            f"pixels: its margins are {margin[0]} and {margin[1]}, and tiles start at "
            f"multiples of {alignment}."
        )
    starts = _starts(right, step, image, size, alignment)
    overlap = size - starts[1] if len(starts) > 1 else 0
    parts = _slices(windows, image, size, starts, behind)
    return _AxisPlan(size, overlap, margin, alignment, parts)


def _with_blocks_counted(node: EnrichedNetworkNode) -> EnrichedNetworkNode:
    """Return the same node of a graph in which norms over blocks of the map see their block."""
    if all(one.layer_info.norm_blocks is None for one in node.all_layers):
        return node
    made: dict[EnrichedNetworkNode, EnrichedNetworkNode] = {}
    for one in node.all_layers:
        layer = one.layer_info
        if layer.norm_blocks is not None:
            layer = attrs.evolve(
                layer,
                kernel_size=layer.norm_blocks,
                padding=0,
                blockwise=True,
                ignored_global=False,
            )
        before = tuple(made[each] for each in one.predecessors)
        made[one] = attrs.evolve(one, layer_info=layer, predecessors=before)
    return made[node]


def _require_exact(node: EnrichedNetworkNode, before: Sequence[EnrichedNetworkNode]) -> None:
    """Refuse a network in which something takes a tile for the image."""
    for layer in before:
        info = layer.layer_info
        if info.ignored_global or info.resolution_dependent or info.position_dependent:
            raise InvalidGraphError(
                f"{layer.name!r} ({info.name}) depends on the whole image, its size, or the place "
                "in it, though its receptive field does not count that; no tile can stand for the "
                "whole. Ask a layer in front of it, or pass approximate=True."
            )
    if node.certainty == "unknown":
        raise InvalidGraphError(f"{node.name!r} cannot be tiled: {node.certainty_reason}.")
    if any(one.size == math.inf for one in node.known_unit_windows()):
        raise InvalidGraphError(
            f"The units of {node.name!r} see the whole image, or all on one side of them, so no "
            "tile can stand for it; ask a layer in front of the first one that sees everything, or "
            "pass approximate=True."
        )


def _require_finite(node: EnrichedNetworkNode, windows: Sequence[UnitWindows]) -> None:
    """Refuse units to which no tile belongs."""
    if any(min(one.firsts) == math.inf for one in windows):
        raise InvalidGraphError(
            f"The units of {node.name!r} see no pixel at all, so they belong to no tile; ask a "
            "layer in front of what leaves such gaps, as transposed convolutions with a kernel "
            "smaller than their stride do."
        )
    if any(one.size == math.inf for one in windows):
        raise InvalidGraphError(
            f"The units of {node.name!r} see the whole image, or all on one side of them, so no "
            "tile can stand for it; ask a layer in front of the first one that sees everything."
        )


def _difference(layer: EnrichedNetworkNode) -> str:
    """Say why a layer does something else in a tile than in the whole image; "" if it does not."""
    info = layer.layer_info
    kernels = info.kernel_size if isinstance(info.kernel_size, tuple) else (info.kernel_size,)
    what = f"{layer.name!r} ({info.name})"
    if info.ignored_global:
        return f"{what} takes statistics of each tile, not of the image"
    if math.inf in kernels:
        return f"{what} sees all of each tile, not all of the image"
    if info.resolution_dependent:
        return f"{what} depends on the size of a tile, not on that of the image"
    if info.position_dependent:
        return f"{what} depends on the place in a tile, not on that in the image"
    if layer.certainty == "unknown" and all(
        one.certainty != "unknown" for one in layer.predecessors
    ):
        return f"{what} is not known, and may look farther than the margin"
    return ""


def _is_finite(node: EnrichedNetworkNode) -> bool:
    """Return whether there is a way to a layer that does not see everything, on all axes."""
    return all(one is None or one.size < math.inf for one in node.lasting_unit_windows)


def _windows_of(node: EnrichedNetworkNode) -> list[UnitWindows]:
    """Return what the units see over the ways that are finite."""
    known = [one for one in node.lasting_unit_windows if one is not None]
    return known if len(known) == len(node.paths) else node.known_unit_windows()


def _all_before(node: EnrichedNetworkNode) -> list[EnrichedNetworkNode]:
    """Return the node and all with a place in the image that it depends on, in their order."""
    found = {node}
    waiting = [node]
    while waiting:
        for before in waiting.pop().predecessors:
            if before.has_position and before not in found:
                found.add(before)
                waiting.append(before)
    return [one for one in node.all_layers if one in found]


def _along(node: EnrichedNetworkNode, axis: int) -> UnitWindows:
    windows = _windows_of(node)
    return windows[axis if len(windows) > 1 else 0]


def _margin(windows: UnitWindows) -> tuple[int, int]:
    """Return how far windows reach over both ends of the pixels that one period stands for."""
    in_front = -min(windows.firsts)
    behind = max(windows.lasts) - (windows.advance - 1)
    return max(0, int(in_front)), max(0, int(behind))


def _fitting(wanted: int, image: int, alignment: int) -> int:
    """Return the largest size up to the wanted one that leaves the same rest as the image."""
    return wanted - (wanted - image) % alignment


def _own(windows: UnitWindows, start: int) -> int:
    """Return which unit of the whole is unit 0 of a tile that starts at a pixel."""
    return start // windows.advance * len(windows.firsts)


# --- what is right in a tile -------------------------------------------------------------------
#
# The windows of the last layer do not tell: units that a layer in between cut off, or did not make
# for want of image, are padding to the layer behind it, wherever their windows lie.


def _right_units(before: Sequence[EnrichedNetworkNode], axis: int, size: int) -> tuple[int, int]:
    """Return the first right unit of a tile, and the first wrong one behind it.

    Both are units of the tile, of which the image goes on in front and behind.
    """
    found: dict[EnrichedNetworkNode, tuple[int, int, int]] = {}
    for node in before:
        reads = [
            tuple(number - offset for number in found[one])
            for place, one in enumerate(node.predecessors)
            if one in found
            for offset in _offsets(node, place, axis)
        ] or [(0, size, size)]
        first, behind = max(one for one, _, _ in reads), min(one for _, one, _ in reads)
        made = _made(node, axis, size, min(one for _, _, one in reads))
        found[node] = *_right_behind(node, axis, first, behind, made), made
    return found[before[-1]][:2]


def _offsets(node: EnrichedNetworkNode, place: int, axis: int) -> list[int]:
    return [read[axis] or 0 for read in node.offsets[place]] if node.offsets else [0]


def _right_behind(
    node: EnrichedNetworkNode, axis: int, first: int, behind: int, made: int
) -> tuple[int, int]:
    """Return the same behind a layer that reads the units first to behind - 1 rightly.

    ``made`` is how many units it makes of the tile.
    """
    layer, axes = node.layer_info, len(node.paths)
    kernel, stride, dilation, fine, padding = (
        arithmetic.broadcast(value, axes)[axis if axes > 1 else 0]
        for value in (
            layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling, layer.padding,
        )
    )  # fmt: skip
    begin = padding[0] if isinstance(padding, tuple) else padding or 0
    if layer.blockwise:
        first = -(-(first + begin) // kernel) * kernel - begin
        behind = (behind + begin) // kernel * kernel - begin
    else:
        first = (fine * (first - 1) + begin) // stride + 1
        behind = -(-(fine * behind + begin - dilation * (kernel - 1)) // stride)
    return max(first, 0), min(behind, made)


def _made(node: EnrichedNetworkNode, axis: int, size: int, read: int) -> int:
    """Return how many units a layer makes at least of a tile; ``read`` are those in front of it."""
    windows = _along(node, axis)
    units, image = node.feature_map, node.encoded_resolution
    if units is not None and image is not None:
        return units[axis] + _own(windows, size - image[axis])
    if not node.predecessors:
        return size
    counted = map_behind(node.layer_info, (read,) * len(node.paths))[axis]
    return _own(windows, size - 1 + windows.advance) if counted is None else counted


def _starts(right: tuple[int, int], step: int, image: int, size: int, alignment: int) -> list[int]:
    """Return where tiles start along one axis; they get ahead by as much as they can."""
    first, behind = right
    ahead = (behind - first) // step * alignment
    return [*range(0, image - size, ahead), image - size] if size < image else [0]


def _slices(
    windows: UnitWindows, image: int, size: int, starts: Sequence[int], behind: int
) -> list[tuple[slice, slice, slice]]:
    result: list[tuple[slice, slice, slice]] = []
    done = 0
    for place, start in enumerate(starts):
        own = _own(windows, start)
        end = min(start + size, image)
        last = place == len(starts) - 1
        stop = None if last else own + behind
        keep = slice(done - own, None if stop is None else stop - own)
        result.append((slice(start, end), keep, slice(done, stop)))
        done = stop if stop is not None else done
    return result
