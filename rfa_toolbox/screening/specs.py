"""Networks as plain data: layers, and sections of layers, from which graphs and answers are made.

A *layer* does one thing to a map. A *section* is a small network of its own with one way in and
one way out: a block, a stage, a cell or a whole backbone. Sections are put together from layers and
from smaller sections, and equal ones are the same object, so that a search space of millions of
networks consists of a few hundred parts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.costs import map_steps
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import GraphFormatError, InvalidGraphError, InvalidLayerError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures, keep_together

__all__ = [
    "GraphSpec",
    "LayerSpec",
    "Section",
    "activation",
    "add",
    "branches",
    "chain",
    "concatenate",
    "conv",
    "dense",
    "dropout",
    "global_pool",
    "multiply",
    "norm",
    "pool",
    "section",
    "squeeze_excite",
    "upsample",
]

Kind: TypeAlias = Literal[
    "conv",
    "norm",
    "activation",
    "dropout",
    "pool",
    "upsample",
    "squeeze_excite",
    "add",
    "multiply",
    "concatenate",
    "global_pool",
    "dense",
]

MERGES: tuple[Kind, ...] = ("add", "multiply", "concatenate")
"""Kinds of layers that read several maps."""

SPEC_FORMAT = "rfa_toolbox.spec"
SPEC_VERSION = 1

PARTS_KEPT = 1 << 15
"""So many different layers and sections are kept as one object each."""

Work: TypeAlias = "tuple[int, int]"
"""Multiply-accumulates for each unit of the layer's map, and those that are there at any size."""


# --- layers ----------------------------------------------------------------------------------


@attrs.frozen(slots=True, cache_hash=True)
class LayerSpec:
    """One layer of a network, as data.

    Make one with ``conv``, ``pool`` and the other functions of this module, which check and
    complete what they are given.

    Attributes:
        kind: what the layer does.
        window: kernel, stride, dilation, padding and up-sampling, as a layer of a graph has them.
        channels: channels or features of the result; None keeps what comes in.
        groups: groups of a convolution; None is one group per channel that comes in (depthwise).
        bias: whether a convolution or a dense layer adds one number per channel.
        hidden: channels in between of a squeeze-and-excitation.
    """

    kind: Kind
    window: LayerDefinition
    channels: int | None = None
    groups: int | None = 1
    bias: bool = False
    hidden: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _same_layer, tuple(getattr(self, field.name) for field in attrs.fields(LayerSpec))

    @property
    def is_main(self) -> bool:
        """Whether the layer is the main one of a block: it looks, or multiplies with weights."""
        return (
            self.kind in ("conv", "dense", "squeeze_excite")
            or any(self.window.expands(2))
            or self.window.upsampling != (1, 1)
        )

    def channels_behind(self, before: Sequence[int]) -> int:
        """Return the channels of the result.

        Raises:
            InvalidLayerError: a ValueError, if those that come in do not fit the layer.
        """
        if self.kind == "concatenate":
            return sum(before)
        if len(set(before)) > 1 or not before:
            raise InvalidLayerError(
                f"{self.kind} reads maps with {list(before)!r} channels; they must be equal."
            )
        groups = before[0] if self.groups is None else self.groups
        behind = before[0] if self.channels is None else self.channels
        if self.kind == "conv" and (before[0] % groups or behind % groups):
            raise InvalidLayerError(
                f"A convolution from {before[0]} to {behind} channels has {groups} groups; both "
                "must be multiples of that."
            )
        return behind

    def parameters(self, before: int, behind: int) -> int:
        """Return the number of parameters, given the channels in front and behind.

        >>> conv(64, 3).parameters(3, 64)
        1728
        """
        bias = behind if self.bias else 0
        if self.kind == "conv":
            return self._weights(before, behind) + bias
        if self.kind == "dense":
            return before * behind + bias
        if self.kind == "norm":
            return 2 * behind
        if self.kind == "squeeze_excite":
            return 2 * behind * self.hidden + self.hidden + behind
        return 0

    def work(self, before: int, behind: int) -> Work:
        """Return the multiply-accumulates per unit of the map and in all, from the channels.

        >>> conv(64, 3).work(3, 64), dense(10).work(512, 10)
        ((1728, 0), (0, 5120))
        """
        if self.kind == "conv":
            return self._weights(before, behind), 0
        if self.kind == "dense":
            return 0, before * behind
        if self.kind == "squeeze_excite":
            return 0, 2 * behind * self.hidden
        return 0, 0

    def _weights(self, before: int, behind: int) -> int:
        groups = before if self.groups is None else self.groups
        taps = math.prod(int(size) for size in arithmetic.broadcast(self.window.kernel_size, 2))
        return before // groups * behind * taps

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain values that JSON can hold; defaults are left out.

        >>> conv(8, 3).to_dict()["channels"]
        8
        """
        plain = {"kind": self.kind, "window": self.window.to_dict()}
        for field in attrs.fields(LayerSpec)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                plain[field.name] = value
        return plain


def _layer(
    kind: Kind,
    name: str,
    kernel: Any = 1,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = 0,
    upsampling: int = 1,
    gate: bool = False,
    **more: Any,
) -> LayerSpec:
    window = LayerDefinition(
        name,
        _both_axes(kernel),
        _both_axes(stride),
        dilation=_both_axes(dilation),
        padding=tuple((one, one) for one in arithmetic.broadcast(_both_axes(padding), 2)),
        upsampling=_both_axes(upsampling),
        ignored_global=gate,
    )
    return _same_layer(*attrs.astuple(LayerSpec(kind, window, **more), recurse=False))


@functools.lru_cache(PARTS_KEPT)
def _same_layer(*values: Any) -> LayerSpec:
    return LayerSpec(*values)


def _both_axes(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    return (value, value)


def _cached(make: Callable[..., Any]) -> Any:
    """Return one object for equal arguments, so that later questions know it by identity."""
    return functools.wraps(make)(functools.lru_cache(PARTS_KEPT)(make))


def _whole(value: Any, what: str) -> int:
    number = arithmetic.normalise_integers(value, what)
    if isinstance(number, tuple):
        raise InvalidLayerError(f"{what} is {value!r}; it must be one positive whole number.")
    return number


@_cached
def conv(
    channels: int | None,
    kernel: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    *,
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | None = None,
    groups: int | None = 1,
    bias: bool = False,
) -> LayerSpec:
    """Return a convolution.

    Args:
        channels: of the result; None keeps what comes in.
        kernel: units under the window, one number or (height, width), as all sizes here.
        stride: steps of the window.
        dilation: distance between the units under the window.
        padding: zeros on both sides; None is ``dilation * (kernel - 1) // 2``, which keeps the
            size of the map.
        groups: number of groups; None is one for each channel that comes in (depthwise).
        bias: whether there is one.

    Raises:
        InvalidLayerError: a ValueError, for sizes that no layer has.

    >>> conv(64, 3, stride=2).window.padding
    ((1, 1), (1, 1))
    """
    if padding is None:
        spans = arithmetic.normalise_integers(_both_axes(dilation), "The dilation of a layer")
        sizes = arithmetic.normalise_integers(_both_axes(kernel), "The kernel size of a layer")
        padding = tuple(
            space * (size - 1) // 2
            for space, size in zip(
                arithmetic.broadcast(spans, 2), arithmetic.broadcast(sizes, 2), strict=True
            )
        )  # type: ignore[assignment]
    return _layer(
        "conv",
        "Conv2d",
        kernel,
        stride,
        dilation,
        padding,
        channels=None if channels is None else _whole(channels, "The channels of a convolution"),
        groups=None if groups is None else _whole(groups, "The groups of a convolution"),
        bias=bool(bias),
    )


@_cached
def pool(
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> LayerSpec:
    """Return a pooling, of the largest or the mean value; ``stride`` None is the kernel.

    >>> pool(2).window.stride_size
    (2, 2)
    """
    return _layer("pool", "Pool2d", kernel, kernel if stride is None else stride, padding=padding)


@_cached
def norm() -> LayerSpec:
    """Return a norm with two numbers per channel, such as batch normalisation."""
    return _layer("norm", "BatchNorm2d")


@_cached
def activation(name: str = "ReLU") -> LayerSpec:
    """Return an activation, which works on single units; ``name`` is a label only."""
    return _layer("activation", name)


@_cached
def dropout() -> LayerSpec:
    """Return a dropout."""
    return _layer("dropout", "Dropout")


@_cached
def squeeze_excite(hidden: int) -> LayerSpec:
    """Return a squeeze-and-excitation: a gate of two dense layers, ``hidden`` channels in between.

    >>> squeeze_excite(4).parameters(16, 16)
    148
    """
    size = _whole(hidden, "The hidden channels of a squeeze-and-excitation")
    return _layer("squeeze_excite", "squeeze_excitation", gate=True, hidden=size)


@_cached
def upsample(factor: int) -> LayerSpec:
    """Return an up-sampling that repeats every unit ``factor`` times (nearest)."""
    size = _whole(factor, "The factor of an up-sampling")
    return _layer("upsample", "Upsample", size, padding=size - 1, upsampling=size)


@_cached
def add() -> LayerSpec:
    """Return the sum of several maps."""
    return _layer("add", "add")


@_cached
def multiply() -> LayerSpec:
    """Return the product of several maps, unit by unit."""
    return _layer("multiply", "mul")


@_cached
def concatenate() -> LayerSpec:
    """Return several maps as one, channels behind channels."""
    return _layer("concatenate", "cat")


@_cached
def global_pool() -> LayerSpec:
    """Return a pooling of the whole map to one unit."""
    return _layer("global_pool", "AdaptiveAvgPool2d", math.inf)


@_cached
def dense(units: int, bias: bool = True) -> LayerSpec:
    """Return a dense layer; it belongs behind ``global_pool``."""
    size = _whole(units, "The units of a dense layer")
    return _layer("dense", "Linear", math.inf, channels=size, bias=bool(bias))


# --- sections --------------------------------------------------------------------------------


@attrs.frozen(slots=True, cache_hash=True)
class Section:
    """Several steps with one way in and one way out.

    Attributes:
        steps: pairs of a layer or a section, and the numbers of the maps that it reads: 0 is the
            map that enters the section, n what the n-th step made. Only a layer that merges
            (``add``, ``multiply``, ``concatenate``) reads several. The last step is the way out.

    Raises:
        InvalidGraphError: a ValueError, for a step that reads what is not there yet.
    """

    steps: tuple[tuple[LayerSpec | Section, tuple[int, ...]], ...]
    _digest: str = attrs.field(init=False, default="", eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.steps:
            raise InvalidGraphError("A section has no steps; it must have at least one.")
        for number, (part, reads) in enumerate(self.steps, start=1):
            if reads != (number - 1,) or not isinstance(part, LayerSpec | Section):
                _check_step(number, part, reads)

    @property
    def digest(self) -> str:
        """A key that equal sections share, in every process: 32 hexadecimal digits."""
        if not self._digest:
            object.__setattr__(self, "_digest", _digest_of(self))
        return self._digest

    def __reduce__(self) -> tuple[Any, ...]:
        return _section, (self.steps,)

    def to_dict(self) -> dict[str, Any]:
        """Return the section as plain values that JSON can hold."""
        return {"steps": [[part.to_dict(), list(reads)] for part, reads in self.steps]}


Part: TypeAlias = "LayerSpec | Section"


def _check_step(number: int, part: Any, reads: tuple[int, ...]) -> None:
    if not isinstance(part, LayerSpec | Section):
        raise InvalidGraphError(
            f"Step {number} of a section is {part!r}; it must be a layer such as conv(64, 3), or "
            "a section such as chain(...)."
        )
    if not reads or any(type(one) is not int or not 0 <= one < number for one in reads):
        raise InvalidGraphError(
            f"Step {number} of a section reads {reads!r}; it must read at least one of 0 (what "
            f"enters the section) to {number - 1} (what the step before made)."
        )
    merges = isinstance(part, LayerSpec) and part.kind in MERGES
    if len(reads) > 1 and not merges:
        raise InvalidGraphError(
            f"Step {number} of a section reads {reads!r}, and is no merge; put one of "
            f"{', '.join(MERGES)} in front of it."
        )


def _digest_of(part: Section) -> str:
    said = [
        f"{one.digest if isinstance(one, Section) else _layer_digest(one)} {reads}"
        for one, reads in part.steps
    ]
    return _hashed("\n".join(said))


@functools.lru_cache(PARTS_KEPT)
def _layer_digest(layer: LayerSpec) -> str:
    return _hashed(json.dumps(layer.to_dict(), sort_keys=True))


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@functools.lru_cache(PARTS_KEPT)
def _section(steps: tuple[tuple[Part, tuple[int, ...]], ...]) -> Section:
    return Section(steps)


def section(steps: Sequence[tuple[Part, Sequence[int]]]) -> Section:
    """Return a section from its steps, each a part and the numbers of the maps that it reads.

    0 is the map that enters the section, n what the n-th step made.

    Raises:
        InvalidGraphError: a ValueError, for a step that reads what is not there yet.

    >>> residual = section([(conv(None, 3), [0]), (conv(None, 3), [1]), (add(), [0, 2])])
    >>> len(residual.steps)
    3
    """
    return _section(tuple((part, tuple(reads)) for part, reads in steps))


def chain(*parts: Part) -> Section:
    """Return a section of parts one behind the other.

    >>> len(chain(conv(64, 3), norm(), activation()).steps)
    3
    """
    return _section(tuple((part, (number,)) for number, part in enumerate(parts)))


def branches(*parts: Part | None, merge: LayerSpec | None = None) -> Section:
    """Return a section of parts side by side, whose results are merged.

    Args:
        parts: the branches; None is the way around, the map as it comes in.
        merge: ``add()``, which is the default, ``multiply()`` or ``concatenate()``.

    >>> residual = branches(None, chain(conv(None, 3), norm(), activation(), conv(None, 3), norm()))
    >>> GraphSpec(chain(conv(64, 7, 2), residual)).to_graph(32).receptive_field_min
    (7, 7)
    """
    steps: list[tuple[Part, tuple[int, ...]]] = []
    ends: list[int] = []
    for part in parts:
        if part is not None:
            steps.append((part, (0,)))
        ends.append(0 if part is None else len(steps))
    steps.append((add() if merge is None else merge, tuple(ends)))
    return _section(tuple(steps))


# --- networks --------------------------------------------------------------------------------


@attrs.frozen(slots=True, cache_hash=True)
class GraphSpec:
    """A whole network as data.

    Attributes:
        body: all of its layers.
        channels: channels of the image.

    >>> spec = GraphSpec(chain(conv(64, 7, 2), norm(), activation(), global_pool(), dense(10)))
    >>> [node.name for node in spec.to_graph(32).all_layers]
    ['conv1', 'norm1', 'activation1', 'global_pool1', 'dense1']
    """

    body: Section
    channels: int = 3

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.body, Section):
            raise InvalidGraphError(
                f"The body of a GraphSpec is {self.body!r}; it must be a section, such as "
                "chain(conv(64, 3), norm(), activation())."
            )
        _whole(self.channels, "The channels of the image")

    @property
    def digest(self) -> str:
        """A key that equal specs share, in every process: 32 hexadecimal digits."""
        return _hashed(f"{self.channels} {self.body.digest}")

    def to_dict(self) -> dict[str, Any]:
        """Return the network as plain values that JSON can hold.

        >>> GraphSpec.from_dict(GraphSpec(chain(conv(8))).to_dict()) == GraphSpec(chain(conv(8)))
        True
        """
        return {
            "format": SPEC_FORMAT,
            "version": SPEC_VERSION,
            "channels": self.channels,
            "body": self.body.to_dict(),
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> GraphSpec:
        """Make a network from what ``to_dict`` returned.

        Raises:
            GraphFormatError: a ValueError, if it is anything else.
        """
        given: object = config
        if not isinstance(given, Mapping) or given.get("format") != SPEC_FORMAT:
            raise GraphFormatError(
                f"A spec needs the format {SPEC_FORMAT!r}, and this has "
                f"{given.get('format') if isinstance(given, Mapping) else given!r}."
            )
        if config.get("version") != SPEC_VERSION:
            raise GraphFormatError(
                f"The spec has version {config.get('version')!r}; this release reads version "
                f"{SPEC_VERSION}."
            )
        try:
            body = _part_from(config["body"])
            return cls(body, config.get("channels", 3))  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise GraphFormatError(f"The spec is damaged: {error}") from error

    def to_graph(self, input_res: Resolution = 224) -> EnrichedNetworkNode:
        """Return the full graph, made for images of ``input_res`` pixels; its last node.

        Raises:
            InvalidLayerError: a ValueError, where channels do not fit.
            InvalidGraphError: a ValueError, where maps of different sizes meet.
        """
        return _Builder(self, arithmetic.normalise_resolution(input_res, 2)).built()

    def layers(self) -> Iterator[LayerSpec]:
        """Yield all layers, those of repeated sections as often as they are there."""
        waiting: list[Part] = [self.body]
        while waiting:
            part = waiting.pop()
            if isinstance(part, LayerSpec):
                yield part
            else:
                waiting += [one for one, _ in reversed(part.steps)]


def _part_from(config: Mapping[str, Any]) -> Part:
    if "steps" in config:
        return section([(_part_from(part), reads) for part, reads in config["steps"]])
    values = dict(config)
    window = LayerDefinition.from_dict(values.pop("window"))
    _check_window(window)
    return _same_layer(*attrs.astuple(LayerSpec(window=window, **values), recurse=False))


def _check_window(window: LayerDefinition) -> None:
    """Refuse what layers of graphs can be, and those of specs cannot."""
    sizes = ("kernel_size", "stride_size", "dilation", "padding", "upsampling")
    plain = LayerDefinition(window.name, **{name: getattr(window, name) for name in sizes})
    gate = attrs.evolve(plain, ignored_global=True)
    known = all(
        isinstance(one, tuple) and None not in one
        for one in (window.padding if isinstance(window.padding, tuple) else (window.padding,))
    )
    if window not in (plain, gate) or not known:
        raise InvalidLayerError(
            f"The window {window!r} has more than a kernel, stride, dilation, known padding and "
            "up-sampling, of which layers of specs consist."
        )


# --- graphs ----------------------------------------------------------------------------------


class _Map:
    """What the builder knows of a map: its node (None is the image), channels and size."""

    __slots__ = ("channels", "node", "size")

    def __init__(
        self, node: EnrichedNetworkNode | None, channels: int, size: tuple[int, ...]
    ) -> None:
        self.node = node
        self.channels = channels
        self.size = size


class _Builder:
    """Makes the nodes of a network, one by one."""

    def __init__(self, spec: GraphSpec, resolution: tuple[int, ...]) -> None:
        self.spec = spec
        self.resolution = resolution
        self.counts: Counter[str] = Counter()
        self.nodes: list[EnrichedNetworkNode] = []

    def built(self) -> EnrichedNetworkNode:
        image = self._image() if _merges_what_enters(self.spec.body) else None
        out = self._section(self.spec.body, _Map(image, self.spec.channels, self.resolution))
        keep_together(self.nodes)
        assert out.node is not None  # noqa: S101 - a section has at least one layer
        return out.node

    def _section(self, part: Section, entering: _Map) -> _Map:
        maps = [entering]
        for one, reads in part.steps:
            before = [maps[read] for read in reads]
            maps.append(
                self._section(one, before[0])
                if isinstance(one, Section)
                else self._layer(one, before)
            )
        return maps[-1]

    def _layer(self, layer: LayerSpec, before: list[_Map]) -> _Map:
        size = size_behind(layer, [one.size for one in before])
        entering = [one.channels for one in before]
        channels = layer.channels_behind(entering)
        each, fixed = layer.work(entering[0], channels)
        work = [(each * math.prod(size), (1, 1))] if each else [(fixed, (0, 0))] if fixed else []
        node = self._node(
            layer.kind,
            layer.window,
            [one.node for one in before if one.node is not None],
            Measures(self.resolution, size, layer.parameters(entering[0], channels), work),
        )
        return _Map(node, channels, size)

    def _image(self) -> EnrichedNetworkNode:
        """Return a node for the image, which it needs where it is merged with other maps."""
        layer = LayerDefinition("Input", (1, 1), (1, 1), padding=((0, 0), (0, 0)))
        return self._node("input", layer, [], Measures(self.resolution, self.resolution, 0, []))

    def _node(
        self,
        kind: str,
        window: LayerDefinition,
        before: list[EnrichedNetworkNode],
        measures: Measures,
    ) -> EnrichedNetworkNode:
        self.counts[kind] += 1
        node = EnrichedNetworkNode(
            f"{kind}{self.counts[kind]}", window, list(dict.fromkeys(before)), measures=measures
        )
        self.nodes.append(node)
        return node


def _merges_what_enters(part: Section) -> bool:
    """Return whether a merge reads the very map that enters a section."""
    return any(
        _merges_what_enters(one) if isinstance(one, Section) else one.kind in MERGES
        for one, reads in part.steps
        if 0 in reads
    )


def size_behind(layer: LayerSpec, before: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the units of a layer's map per axis, given those of the maps that it reads.

    Raises:
        InvalidGraphError: a ValueError, where these differ, or where nothing is left of the map.

    >>> size_behind(conv(8, 3, stride=2), [(32, 33)])
    (16, 17)
    """
    if len(set(before)) > 1:
        raise InvalidGraphError(
            f"{layer.kind} reads maps of {list(before)!r} units; they must be equal. Strides of "
            "branches that meet again must be the same."
        )
    if layer.kind == "dense" and max(before[0]) > 1:
        raise InvalidGraphError(
            f"A dense layer reads a map of {before[0]!r} units; put global_pool() in front of it."
        )
    if layer.window.kernel_size == (math.inf, math.inf):
        return (1,) * len(before[0])
    sizes = tuple(
        step.units(size) for size, step in zip(before[0], map_steps(layer.window, 2), strict=False)
    )
    if min(sizes) < 1:
        raise InvalidGraphError(
            f"A {layer.kind} with a kernel of {layer.window.kernel_size!r} units has nothing to "
            f"slide over on a map of {before[0]!r}; choose a larger resolution, or pad."
        )
    return sizes
