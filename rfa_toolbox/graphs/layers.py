"""What a layer does to the grid that it slides over, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import Size
from rfa_toolbox.errors import GraphFormatError, InvalidLayerError

__all__ = ["EVERYTHING", "UNMEASURED", "LayerDefinition", "Measures", "Padding", "listed"]

Padding: TypeAlias = "int | tuple[tuple[int, int | None] | None, ...] | None"


def _to_kernel(value: Any) -> Any:
    return arithmetic.normalise_infinite(value, "The kernel size of a layer")


def _to_shortest_kernel(value: Any) -> Any:
    if value is None:
        return None
    return arithmetic.normalise_infinite(value, "The shortest kernel size of a layer")


def _to_stride(value: Any) -> Any:
    return arithmetic.normalise_integers(value, "The stride size of a layer")


def _to_dilation(value: Any) -> Any:
    return arithmetic.normalise_integers(value, "The dilation of a layer")


def _to_upsampling(value: Any) -> Any:
    return arithmetic.normalise_integers(value, "The up-sampling factor of a layer")


def _to_blocks(value: Any) -> Any:
    return None if value is None else arithmetic.normalise_integers(value, "A block of a norm")


def _to_count(value: Any) -> Any:
    return None if value is None else _whole(value, "The number of filters or units of a layer")


def _whole(value: Any, what: str) -> int:
    if type(value) is int and value >= 0:
        return value
    count = None if value is None else arithmetic.normalise_integers(value, what, 0)
    if not isinstance(count, int):
        raise InvalidLayerError(f"{what} is {value!r}; it must be one whole number, or None.")
    return count


def _to_layer_name(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidLayerError(f"The name of a layer is {value!r}; it must be a text.")
    return value


def _to_flag(value: Any) -> bool:
    if value not in (True, False):
        raise InvalidLayerError(f"A flag of a layer is {value!r}; it must be True or False.")
    return bool(value)


def _to_scan(value: Any) -> Any:
    if value is None:
        return None
    ways = value if isinstance(value, tuple | list) else (value,)
    if not ways or any(way not in (None, "forward", "backward") for way in ways):
        raise InvalidLayerError(
            f"The scan of a layer is {value!r}; it must be None, 'forward' (units see all in front "
            "of them), 'backward' (all behind them), or one of these per axis."
        )
    return tuple(ways) if isinstance(value, tuple | list) else value


def _to_padding(value: Any) -> Padding:
    if value is None or type(value) is int:
        return value
    what = "The padding of a layer"
    if isinstance(value, str) or not isinstance(value, Iterable):
        return arithmetic.normalise_integers(value, what, minimum=-(10**9))  # type: ignore[return-value]
    sides: list[tuple[int, int | None] | None] = []
    for item in value:
        pair = tuple(item) if isinstance(item, Iterable) else (item, item)
        if isinstance(item, str) or len(pair) != 2:
            raise InvalidLayerError(
                f"{what} is {value!r}; it must be one number, or per axis a number or a pair "
                "(begin, end)."
            )
        begin, end = (
            None if one is None else arithmetic.normalise_integers(one, what, minimum=-(10**9))
            for one in pair
        )
        sides.append(None if begin is None else (begin, end))  # type: ignore[arg-type]
    return tuple(sides)


class Slide(NamedTuple):
    """How a layer slides over the grid in front of it along one axis; ``begin`` None is unknown."""

    kernel: Size
    stride: int
    dilation: int
    upsampling: int
    begin: int | None
    scan: str | None


def _stays(slide: Slide) -> bool:
    return slide.kernel == slide.stride == slide.upsampling == 1 and slide.begin == 0


class _Stored:
    """A pickle of an earlier release, which knew fewer attributes, has their defaults."""

    __slots__ = ()
    __attrs_attrs__: ClassVar[Any]

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for field in attrs.fields(type(self)):
            object.__setattr__(self, field.name, state.get(field.name, field.default))


@attrs.frozen(slots=True, getstate_setstate=False)
class LayerDefinition(_Stored):
    """What a layer does to the grid of units that it slides over.

    Attributes:
        name: what to call this kind of layer in pictures and tables.
        kernel_size: units under the window; one number, or one per axis (height, width).
            None (or inf) is a layer in which every position sees every other one.
        stride_size: steps of the window; None is 1.
        filters: number of output channels of a convolution, if it has any.
        units: number of output features of a dense layer, if it has any.
        dilation: distance between the units under the window.
        padding: units added in front and behind; one number for both sides of all axes, or per
            axis a number or a pair (begin, end). Negative numbers crop. None is unknown, but for
            a layer that looks at nothing but its own unit: nobody pads in front of that.
        upsampling: factor by which the layer makes the grid finer before its window slides over
            it, with zeros in between: 2 for a transposed convolution with stride 2.
        shortest_kernel_size: for a layer that stands for several: the window of the shortest
            way through it, where ``kernel_size`` is that of the longest. None: they are equal.
        blockwise: the window does not slide; units are taken in blocks of ``kernel_size`` that do
            not overlap, and every unit sees the whole block that it is in, as in windowed
            attention.
        resolution_dependent: the window is that of one input size and grows with the image, as
            in adaptive pooling. Questions about resolutions treat it as infinite.
        ignored_global: something in the layer depends on the whole image and was left out of
            account, as in squeeze-and-excitation, or in a norm that takes its statistics from the
            image. Tiled inference has to know.
        norm_blocks: where ``ignored_global`` is a norm that takes its statistics from blocks of the
            map that do not overlap, such as the patches of an embedding: units of a block, one
            number, or one per axis. None: from all of it, or it is no norm.
        position_dependent: the layer does something else at other places of the image, or on images
            of another size: a roll or circular padding brings units from the far edge, padding
            lies where a map was cropped, a part of a map is written, constants vary over it
            (coordinates, embeddings of positions), or numbers, crops and ratios are made of the
            size of the input.
            Tiled inference has to know.
        positionless: the layer has no place in the image, such as an input that is a time step, a
            class or a text. It has no receptive field, and nor has what is computed from such
            layers alone; see ``EnrichedNetworkNode.has_position``.
        scan: where the kernel is infinite because the layer runs over the positions in order:
            "forward" if a unit sees itself and all in front of it, as in a cumulative sum, a
            recurrent layer or causal attention, "backward" if it sees all behind it. None, or one
            per axis. Receptive fields are infinite either way; ``unit_windows`` has the side.
        covers_map: at the size that the graph was made with, the layer has one window over all of
            the map in front of it, without padding, and nothing behind it looks: a convolution as
            classifier, or a pooling of fixed size in front of a dense layer. It is a part of the
            head, and questions about resolutions treat it as infinite, as that dense layer.
        ceil_mode: windows of a pooling that begin on the map, or in the padding in front of it,
            count even if they end behind the padding. The end of ``padding`` is then as much as
            windows reach at the size that the graph was made with.
        same_padding: it pads so that there is a unit per stride, whatever the size of its map, as
            Keras does with ``padding="same"``. ``padding`` is then that at the size that the graph
            was made with.

    Raises:
        InvalidLayerError: a ValueError, for a negative, zero or fractional number, or when
            values have different numbers of axes.

    >>> LayerDefinition(name="Conv3x3", kernel_size=3, stride_size=1, filters=64).kernel_size
    3
    >>> LayerDefinition(name="Fully Connected", units=1000).kernel_size
    inf
    """

    name: str = attrs.field(converter=_to_layer_name)
    kernel_size: Any = attrs.field(default=None, converter=_to_kernel)
    stride_size: Any = attrs.field(default=None, converter=_to_stride)
    filters: int | None = attrs.field(default=None, converter=_to_count)
    units: int | None = attrs.field(default=None, converter=_to_count)
    dilation: Any = attrs.field(default=1, converter=_to_dilation)
    padding: Any = attrs.field(default=None, converter=_to_padding)
    upsampling: Any = attrs.field(default=1, converter=_to_upsampling)
    shortest_kernel_size: Any = attrs.field(default=None, converter=_to_shortest_kernel)
    blockwise: bool = attrs.field(default=False, converter=_to_flag)
    resolution_dependent: bool = attrs.field(default=False, converter=_to_flag)
    ignored_global: bool = attrs.field(default=False, converter=_to_flag)
    position_dependent: bool = attrs.field(default=False, converter=_to_flag)
    positionless: bool = attrs.field(default=False, converter=_to_flag)
    scan: Any = attrs.field(default=None, converter=_to_scan)
    covers_map: bool = attrs.field(default=False, converter=_to_flag)
    ceil_mode: bool = attrs.field(default=False, converter=_to_flag)
    same_padding: bool = attrs.field(default=False, converter=_to_flag)
    norm_blocks: Any = attrs.field(default=None, converter=_to_blocks)
    axes: int | None = attrs.field(init=False, repr=False, eq=False)
    """Number of spatial axes that the layer was described with; None if all values are scalar."""
    slides: tuple[Slide, ...] = attrs.field(init=False, repr=False, eq=False)
    """The same per axis; one entry for all axes if all values are scalar."""
    sees_finitely: bool = attrs.field(init=False, repr=False, eq=False)
    """Whether the kernel is finite on every axis."""
    stays: bool = attrs.field(default=False, init=False, repr=False, eq=False)
    """Whether every unit sees the one at its own place, and no other."""

    def __attrs_post_init__(self) -> None:
        counts = {
            len(value)
            for value in (
                self.kernel_size,
                self.stride_size,
                self.dilation,
                self.padding,
                self.upsampling,
                self.shortest_kernel_size,
                self.scan,
                self.norm_blocks,
            )
            if type(value) is tuple
        }
        if len(counts) > 1:
            raise InvalidLayerError(
                f"The layer {self.name!r} mixes different numbers of axes: kernel_size="
                f"{self.kernel_size!r}, stride_size={self.stride_size!r}, dilation="
                f"{self.dilation!r}, padding={self.padding!r}, upsampling={self.upsampling!r}; "
                "give each of them one number, or one per axis."
            )
        axes = counts.pop() if counts else None
        object.__setattr__(self, "axes", axes)
        if axes is None:
            slides: tuple[Slide, ...] = (self._slide(self.padding),)
            finite = self.kernel_size != math.inf
        else:
            slides = self._slides(axes)
            finite = math.inf not in arithmetic.broadcast(self.kernel_size, axes)
        object.__setattr__(self, "slides", slides)
        object.__setattr__(self, "sees_finitely", finite)
        plainly = not self.blockwise and self.shortest_kernel_size is None
        object.__setattr__(self, "stays", plainly and all(map(_stays, slides)))
        if self.scan and any(slide.scan and slide.kernel != math.inf for slide in slides):
            raise InvalidLayerError(
                f"The layer {self.name!r} has scan={self.scan!r} and kernel_size="
                f"{self.kernel_size!r}; where a layer scans, its kernel is infinite (None)."
            )

    @property
    def sees_all_at_any_size(self) -> bool:
        """Whether questions about resolutions treat the layer as one that sees everything."""
        return self.resolution_dependent or self.covers_map

    def _slide(self, begin: int | None) -> Slide:
        """Return how a layer slides that is the same on all axes."""
        kernel, stride, upsampling = self.kernel_size, self.stride_size, self.upsampling
        if begin is None and kernel == stride == upsampling == 1:
            begin = 0  # nobody pads in front of a layer that looks at its own unit alone
        return Slide(kernel, stride, self.dilation, upsampling, begin, self.scan)

    def _slides(self, axes: int) -> tuple[Slide, ...]:
        return tuple(
            Slide(
                kernel,
                stride,
                dilation,
                upsampling,
                0 if self.padding is None and kernel == stride == upsampling == 1 else begin,
                scan,
            )
            for kernel, stride, dilation, upsampling, begin, scan in zip(
                arithmetic.broadcast(self.kernel_size, axes),
                arithmetic.broadcast(self.stride_size, axes),
                arithmetic.broadcast(self.dilation, axes),
                arithmetic.broadcast(self.upsampling, axes),
                self._begins(axes),
                arithmetic.broadcast(self.scan, axes),
                strict=True,
            )
        )

    def _begins(self, axes: int) -> tuple[int | None, ...]:
        if type(self.padding) is tuple:
            return tuple(None if sides is None else sides[0] for sides in self.padding)
        return (self.padding,) * axes

    def window(self, axes: int) -> tuple[Size, ...]:
        """Return how many units in front of the layer its kernel covers, one number per axis.

        >>> LayerDefinition("Conv", kernel_size=3, dilation=2).window(2)
        (3, 3)
        >>> LayerDefinition("ConvTranspose", kernel_size=4, upsampling=2).window(1)
        (2,)
        """
        return tuple(
            map(
                arithmetic.window_of,
                arithmetic.broadcast(self.kernel_size, axes),
                arithmetic.broadcast(self.upsampling, axes),
            )
        )

    def expands(self, axes: int) -> tuple[bool, ...]:
        """Return per axis whether the layer sees more than one unit in front of it.

        >>> LayerDefinition("Conv", kernel_size=(3, 1)).expands(2)
        (True, False)
        """
        looks = tuple(
            arithmetic.window_of(slide.kernel, slide.upsampling, slide.dilation) > 1
            for slide in self.slides
        )
        return tuple(arithmetic.broadcast(looks[0] if self.axes is None else looks, axes))

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LayerDefinition:
        """Make a layer from what ``to_dict`` returned.

        >>> LayerDefinition.from_dict({"name": "Conv", "kernel_size": 3}).kernel_size
        3
        """
        if not isinstance(config, Mapping):
            raise GraphFormatError(f"A layer is {config!r}; it must be an object with a 'name'.")
        known = {field.name for field in attrs.fields(cls) if field.init}
        unknown = sorted(set(config) - known)
        if unknown:
            raise GraphFormatError(
                f"A layer has the unknown keys {unknown!r}; valid keys are {sorted(known)!r}."
            )
        if "name" not in config:
            raise GraphFormatError(f"A layer needs a 'name', but got only {dict(config)!r}.")
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain values that JSON can hold; an infinite kernel is None.

        >>> LayerDefinition("Dense", units=10).to_dict()["kernel_size"] is None
        True
        """
        return {
            "name": self.name,
            "kernel_size": _finite_or_none(self.kernel_size),
            "stride_size": listed(self.stride_size),
            "filters": self.filters,
            "units": self.units,
            "dilation": listed(self.dilation),
            "padding": listed(self.padding),
            "upsampling": listed(self.upsampling),
            "shortest_kernel_size": (
                None
                if self.shortest_kernel_size is None
                else listed(self.shortest_kernel_size, infinite="inf")
            ),
            "blockwise": self.blockwise,
            "resolution_dependent": self.resolution_dependent,
            "ignored_global": self.ignored_global,
            "position_dependent": self.position_dependent,
            "positionless": self.positionless,
            "scan": listed(self.scan),
            "covers_map": self.covers_map,
            **{name: True for name in ("ceil_mode", "same_padding") if getattr(self, name)},
            **({"norm_blocks": listed(self.norm_blocks)} if self.norm_blocks else {}),
        }


EVERYTHING = LayerDefinition("everything")
"""A layer in which every position sees every other one."""


def _finite_or_none(value: Any) -> Any:
    return listed(value, infinite=None)


def listed(value: Any, infinite: Any = None) -> Any:
    """Return a value as JSON can hold it: tuples are lists, and ``infinite`` stands for inf."""
    if isinstance(value, tuple):
        return [listed(item, infinite) for item in value]
    return infinite if value == math.inf else value


# --- what a layer costs ----------------------------------------------------------------------


def _to_sizes(value: Any) -> tuple[int, ...] | None:
    what = "A size among the measures of a node"
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidLayerError(f"{what} is {value!r}; it must be a sequence, one number per axis.")
    return tuple(_whole(one, what) for one in value)


def _to_parameters(value: Any) -> int | None:
    return None if value is None else _whole(value, "The number of parameters of a node")


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidLayerError(
            f"A graph stopped at {value!r}; it must be a text, empty where it did not stop."
        )
    return value


def _to_work(value: Any) -> tuple[tuple[int, tuple[int, ...]], ...] | None:
    if value is None:
        return None
    what = "The work of a node"
    try:
        pairs = [(count, tuple(exponents)) for count, exponents in value]
    except (TypeError, ValueError):
        raise InvalidLayerError(
            f"{what} is {value!r}; it must be a sequence of pairs (count, exponents), such as "
            "[(1000, (1, 1))]: 1000 multiply-accumulates that grow with the height and with the "
            "width of the feature map."
        ) from None
    return tuple(
        (_whole(count, what), tuple(_whole(one, what) for one in exponents))
        for count, exponents in pairs
    )


@attrs.frozen(slots=True, getstate_setstate=False)
class Measures(_Stored):
    """What a layer has and does at the input size that its graph was made with.

    Attributes:
        encoded_resolution: that size in pixels, one number per spatial axis.
        feature_map: units of the layer's output along every spatial axis; 1 where no positions
            are left.
        parameters: number of parameters that the layer is the first one to use.
        work: multiply-accumulates as pairs of a count at that size and, per spatial axis, the
            exponent with which the count grows with the feature map: 1 for a convolution, 0 where
            no positions are left, 2 for products of all positions with all others.
        stopped: where and why the graph ends before its model does; empty where it does not.

    None is unknown.

    Raises:
        InvalidLayerError: a ValueError, for anything but whole numbers that are not negative,
            and for different numbers of axes.

    >>> Measures((224, 224), (112, 112), 9408, [(118013952, (1, 1))]).multiply_accumulates
    118013952
    """

    encoded_resolution: tuple[int, ...] | None = attrs.field(default=None, converter=_to_sizes)
    feature_map: tuple[int, ...] | None = attrs.field(default=None, converter=_to_sizes)
    parameters: int | None = attrs.field(default=None, converter=_to_parameters)
    work: tuple[tuple[int, tuple[int, ...]], ...] | None = attrs.field(
        default=None, converter=_to_work
    )
    stopped: str = attrs.field(default="", converter=_to_text)

    def __attrs_post_init__(self) -> None:
        sizes = [one for one in (self.encoded_resolution, self.feature_map) if one is not None]
        sizes += [exponents for _, exponents in self.work or ()]
        if len(set(map(len, sizes))) > 1:
            raise InvalidLayerError(
                f"The measures of a node mix different numbers of axes: encoded_resolution="
                f"{self.encoded_resolution!r}, feature_map={self.feature_map!r}, work="
                f"{self.work!r}; give each of them one number per spatial axis."
            )

    @property
    def multiply_accumulates(self) -> int | None:
        """Multiply-accumulates of convolutions and dense products, None if unknown."""
        return None if self.work is None else sum(count for count, _ in self.work)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any] | None) -> Measures:
        """Make measures from what ``to_dict`` returned.

        >>> Measures.from_dict({"parameters": 3}).parameters, Measures.from_dict(None).parameters
        (3, None)
        """
        if config is None:
            return UNMEASURED
        known = {field.name for field in attrs.fields(cls)}
        given: object = config
        if not isinstance(given, Mapping) or not known.issuperset(given):
            raise GraphFormatError(
                f"The measures of a node are {config!r}; they must be an object with none but the "
                f"keys {sorted(known)!r}."
            )
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as plain values that JSON can hold.

        >>> Measures(parameters=3).to_dict()["parameters"]
        3
        """
        return {
            "encoded_resolution": listed(self.encoded_resolution),
            "feature_map": listed(self.feature_map),
            "parameters": self.parameters,
            "work": listed(self.work),
            **({"stopped": self.stopped} if self.stopped else {}),
        }


UNMEASURED = Measures()
