"""The operators of ONNX under the names and arguments of the shared rules."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rfa_toolbox.encodings.complaints import shortened
from rfa_toolbox.encodings.onnx.program import Node, Program
from rfa_toolbox.encodings.written import Written
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.masks import FAR_BELOW
from rfa_toolbox.operators.record import Numbers, Record, TensorRef, last_results

__all__ = ["Lowering"]

_TAPS = 2**20
"""The most taps along one axis that a kernel may have."""
_BY_CHANCE = 0.1
"""The largest share of zeros in a matrix that was learned, and is no mask."""
_FEW = 64
"""Kernels of a weight that tell whether it may have taps that are zero in all of them."""


class Lowering:
    """Turns the nodes of a program into a record of operators.

    Args:
        program: the program, with all sizes.
        left_open: by name of an input the dimensions whose sizes are stand-ins.
    """

    def __init__(self, program: Program, left_open: Mapping[str, tuple[int, ...]]) -> None:
        self.program = program
        self._open = left_open
        self._tensors: dict[str, TensorRef] = {}
        self.written = Written()
        self.slices: dict[int, tuple[int, int, int, int]] = {}
        """By number of a tensor that is a run of another one: of which, along which dimension, from
        where to where."""

    def record(self) -> Record:
        """Return the record of the whole program, as far as sizes are known."""
        given = {name: self.tensor(name) for name in self.inputs}
        self.written.reach(given.values())
        stopped = ""
        for node in self.program.nodes():
            stopped = stopped or self._lowered(node)
        outputs = tuple(
            self._tensors[value.name]
            for value in self.program.graph.output
            if self._reaches(value.name)
        )
        return Record(
            self.program.graph.name or "ONNX model",
            tuple(given.values()),
            outputs or last_results(self.written.operations),
            tuple(self.written.operations),
            {name: math.prod(shape) for name, shape in self.program.constants.items()},
            stopped="" if outputs else stopped,
            open={given[name].number: dims for name, dims in self._open.items() if dims},
        )

    @property
    def names(self) -> dict[int, str]:
        """The names of the file's tensors by their numbers in the record."""
        return {one.number: name for name, one in self._tensors.items()}

    @property
    def inputs(self) -> list[str]:
        """The names of what the model is given."""
        held = self.program.constants
        return [one.name for one in self.program.graph.input if one.name not in held]

    def tensor(self, name: str) -> TensorRef:
        """Return the tensor of this name."""
        if name not in self._tensors:
            values = self.program.numbers.get(name)
            same = values is not None and values.size > 0 and bool((values == values.flat[0]).all())
            shape = self.program.shapes[name]
            made = self.written.new(shape, tuple(range(len(shape))) if same else ())
            self._tensors[name] = made
            self.written.origins[made.number] = self.program.sources.get(name, ())
        return self._tensors[name]

    def _lowered(self, node: Node) -> str:
        """Lower a node, if the input reaches it; return why what it makes is lost, if so."""
        read = [name for name in node.inputs if name]
        made = [name for name in node.outputs if name]
        lost = self._lost(node, read, made)
        if lost is not None:
            for name in made:
                self.program.shapes.pop(name, None)
            return lost
        tensors = [self.tensor(name) for name in read]
        if not self.written.is_constant(tensors):
            with self._readable(node):
                LOWERINGS.get(node.kind, _plain_operator)(Call(self, node))
        else:
            self.program.note_sources(read, made)
        return ""

    def _lost(self, node: Node, read: Sequence[str], made: Sequence[str]) -> str | None:
        """Return why nothing is known of what a node makes, if so; empty if others said it."""
        shapes = self.program.shapes
        if any(name not in shapes for name in read):
            return ""
        where = f"{node.kind} ({node.name})" if node.name else node.kind
        reached = any(map(self._reaches, read))
        if reached and any(0 in shapes.get(name, ()) for name in made):
            return f"what {where} makes holds no number."
        if all(name in shapes for name in made):
            return None
        told = "" if "::" not in node.kind else _REMEDY.format(node.kind)
        return f"the size of what {where} makes is not known before it runs.{told}"

    @contextlib.contextmanager
    def _readable(self, node: Node) -> Iterator[None]:
        """Tell of which node it is that cannot be read."""
        try:
            yield
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            if isinstance(error, UnsupportedModelError):
                raise
            shapes = tuple(self.program.shapes.get(name) for name in node.inputs if name)
            name = node.name or next(iter(node.outputs), "")
            raise UnsupportedModelError(
                f"The node {shortened(name, 100)!r}, a "
                f"{shortened(node.kind, 100)}, cannot be read ({type(error).__name__}: "
                f"{shortened(str(error), 300)}); it gets tensors of the shapes "
                f"{shortened(str(shapes), 200)}, and its attributes are "
                f"{shortened(str(dict(node.attributes)), 300)}."
            ) from error

    def _reaches(self, name: str) -> bool:
        return name in self._tensors and self.written.is_reached(self._tensors[name])

    def numbered(self, number: int) -> TensorRef:
        """Return the tensor of the file that has this number."""
        return next(one for one in self._tensors.values() if one.number == number)


_REMEDY = (
    " To say what it does, call rfa_toolbox.operators.chain.add_rule({0!r}, lambda shapes, "
    "arguments: {{'kernel_size': 3, 'stride_size': 1, 'padding': 1}}) with its own numbers."
)


class Call:
    """One node on its way to operations."""

    def __init__(self, lowering: Lowering, node: Node) -> None:
        self.node = node
        self.lowering = lowering

    @property
    def x(self) -> TensorRef:
        """The first input."""
        return self.of(0)

    @property
    def rank(self) -> int:
        """Dimensions of the first input."""
        return len(self.x.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.result(0).shape

    def of(self, place: int) -> TensorRef:
        """Return an input."""
        return self.lowering.tensor(self.node.inputs[place])

    def result(self, place: int) -> TensorRef:
        """Return an output."""
        return self.lowering.tensor(self.node.outputs[place])

    def all(self) -> list[TensorRef]:
        """Return all inputs that are there."""
        return [self.lowering.tensor(name) for name in self.node.inputs if name]

    def results(self) -> list[TensorRef]:
        """Return all outputs that are asked for."""
        return [self.lowering.tensor(name) for name in self.node.outputs if name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def has(self, place: int) -> bool:
        """Return whether an input is there."""
        return bool(self.node.input(place))

    def emit(
        self,
        name: str,
        shape: Sequence[int] | None = None,
        output: int | None = None,
        held: Sequence[TensorRef] | None = None,
        **arguments: Any,
    ) -> TensorRef:
        """Write an operation and return what it makes.

        Args:
            name: of the operation in the vocabulary.
            shape: of what it makes, if that is not what the node makes.
            output: which of the outputs of the node it makes; None for all of them.
            held: the tensors whose parameters it reads; None for all inputs of the node.
            arguments: of the operation.
        """
        if shape is not None:
            made = [self.lowering.written.new(shape)]
        else:
            made = self.results() if output is None else [self.result(output)]
        read = self.all() if held is None else held
        self.lowering.written.write(name, arguments, made, self.node.scope, read)
        return made[0]

    def depends(self, place: int) -> bool:
        """Return whether an input of the node depends on the input of the model."""
        return self.lowering.written.is_reached(self.of(place))

    def as_mask(self, place: int, scores: Sequence[int] | None = None) -> TensorRef:
        """Return an input with its numbers, if it is a constant that may be a mask of scores.

        These are the node's result unless their shape is given.
        """
        tensor, name = self.of(place), self.node.inputs[place]
        sizes = tuple(self.shape if scores is None else scores)[-2:]
        square = len(sizes) > 1 and sizes[0] == sizes[1] > 1
        if self.depends(place) or not square or tensor.shape[-2:] != sizes:
            return tensor
        if len(tensor.even) == len(tensor.shape):
            return tensor
        values = self.lowering.program.values(name)
        if values is not None:
            return tensor._replace(numbers=Numbers(values))
        unknown = self.lowering.program.is_logical(name)  # other numbers are biases as a rule
        return tensor._replace(numbers=Numbers(None) if unknown else None)

    def as_matrix(self, place: int) -> TensorRef:
        """Return a factor of a product, with its numbers if it is a constant of many zeros."""
        tensor = self.of(place)
        if self.depends(place) or len(tensor.shape) < 2 or 1 in tensor.shape[-2:]:
            return tensor
        values = self.lowering.program.values(self.node.inputs[place])
        if values is None or (values == 0).mean() <= _BY_CHANCE:
            return tensor
        return tensor._replace(numbers=Numbers(values))

    def as_weight(self, place: int) -> TensorRef:
        """Return the weight of a convolution, with its numbers if taps of it are all zero.

        It is not known which ones those are if it is multiplied with numbers that are not in the
        file.
        """
        tensor, program = self.of(place), self.lowering.program
        kernel = tensor.shape[2:]
        if self.depends(place) or max(kernel, default=1) < 2:
            return tensor
        values = program.values(self.node.inputs[place])
        if values is None:
            masked = program.maker_of(self.node.inputs[place]) in ("Mul", "Where")
            return tensor._replace(numbers=Numbers(None)) if masked else tensor
        few = values.reshape(-1, *kernel)[:_FEW]
        if (few != 0).any(axis=0).all() or not np.isfinite(few).all():
            return tensor
        return tensor._replace(numbers=Numbers(values))

    def holding(self, array: npt.NDArray[Any]) -> TensorRef:
        """Return a constant that the file has no name for."""
        return self.lowering.written.new(array.shape)._replace(numbers=Numbers(array))

    def number(self, place: int) -> float | None:
        """Return the one number that an input consists of, if it is such a constant."""
        if self.depends(place):
            return None
        values = self.lowering.program.values(self.node.inputs[place])
        same = values is not None and values.size and bool((values == values.flat[0]).all())
        return float(values.flat[0]) if values is not None and same else None


Lower: TypeAlias = "Callable[[Call], object]"


def _plain_operator(call: Call) -> None:
    """An operator without a rule of its own: its name says what is not known."""
    read, node = call.all(), call.node
    arguments = {**node.attributes, "input": call.x, "rest": tuple(read[1:])}
    call.lowering.written.write(node.kind, arguments, call.results(), node.scope, read)


def _named(name: str) -> Lower:
    """Return what lowers an operator that works on its inputs as they are."""

    def lower(call: Call) -> None:
        more = enumerate(call.all()[1:], start=1)
        several: dict[str, Any] = {str(place): one for place, one in more}
        call.emit(name, output=0, input=call.x, **several)

    return lower


# --- windows -----------------------------------------------------------------------------------


def _paddings(
    call: Call,
    sizes: Sequence[int],
    wanted: Sequence[int],
    reaches: Sequence[int],
    strides: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Return how much is padded in front and behind, per axis."""
    count = len(sizes)
    automatic = call.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        pads = call.get("pads") or [0] * (2 * count)
        return tuple((pads[axis], pads[axis + count]) for axis in range(count))
    if automatic == "VALID":
        return ((0, 0),) * count
    found = []
    for size, made, reach, stride in zip(sizes, wanted, reaches, strides, strict=True):
        total = max((made - 1) * stride + reach + 1 - size, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if automatic == "SAME_UPPER" else (more, less))
    return tuple(found)


def _window(call: Call, kernel: Sequence[int]) -> dict[str, Any]:
    count = len(kernel)
    strides = tuple(call.get("strides") or [1] * count)
    dilations = tuple(call.get("dilations") or [1] * count)
    reaches = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
    padding = _paddings(call, call.x.shape[2:], call.shape[2:], reaches, strides)
    same = call.get("auto_pad", "NOTSET").startswith("SAME")
    return {"stride": strides, "dilation": dilations, "padding": padding, "same_padding": same}


def _kernel(weight: TensorRef) -> tuple[int, ...]:
    kernel = weight.shape[2:]
    if max(kernel, default=1) > _TAPS:
        raise ValueError(f"its kernel has {max(kernel)} taps; {_TAPS} is the most")
    return kernel


def _convolved(call: Call, weight: TensorRef) -> None:
    count = len(weight.shape) - 2
    arguments = {"input": call.x, "weight": weight, "groups": call.get("group", 1)}
    arguments |= _window(call, _kernel(weight))
    call.emit(f"conv{count}d", output=0, **arguments)


def _conv(call: Call) -> None:
    _convolved(call, call.as_weight(1))


def _quantised_conv(call: Call) -> None:
    _convolved(call, call.of(3))


def _conv_transpose(call: Call) -> None:
    weight = call.as_weight(1)
    kernel = _kernel(weight)
    count = len(kernel)
    strides = tuple(call.get("strides") or [1] * count)
    dilations = tuple(call.get("dilations") or [1] * count)
    more = call.get("output_padding") or [0] * count
    pads = call.get("pads") or [0] * (2 * count)
    padding = []
    for axis in range(count):
        reach = dilations[axis] * (kernel[axis] - 1)
        whole = strides[axis] * (call.x.shape[2 + axis] - 1) + reach + 1 + more[axis]
        total = whole - call.shape[2 + axis]
        if call.get("output_shape") or call.get("auto_pad", "NOTSET").startswith("SAME"):
            upper = call.get("auto_pad") == "SAME_UPPER"
            begin = total // 2 if upper else total - total // 2
        else:
            begin = pads[axis]
        padding.append((begin, total - begin))
    call.emit(
        f"conv_transpose{count}d",
        input=call.x,
        weight=weight,
        stride=strides,
        padding=tuple(padding),
        groups=call.get("group", 1),
        dilation=dilations,
    )


def _pool(kind: str) -> Lower:
    def lower(call: Call) -> None:
        kernel = tuple(call.get("kernel_shape"))
        name = f"{kind}_pool{len(kernel)}d"
        window = _window(call, kernel)
        arguments = {"input": call.x, "kernel_size": kernel, **window}
        # The rule for it pads as much behind a map as in front of it, as PyTorch does.
        evenly = all(begin == end for begin, end in window["padding"])
        arguments["ceil_mode"] = (
            bool(call.get("ceil_mode")) and evenly and not window["same_padding"]
        )
        call.emit(name, output=0, **arguments)

    return lower


def _global_pool(name: str) -> Lower:
    def lower(call: Call) -> None:
        call.emit(name, input=call.x, dim=tuple(range(2, call.rank)), keepdim=True)

    return lower


_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


_TIMES = 2**12
"""How many times as large a resize may make a map, or as small."""

_UNITS = 2**22
"""The most units that a resized map may have along one dimension: all of them are looked at."""


def _resize(call: Call) -> None:
    """Resize a map; where its channels lie behind, they are put in front for it."""
    before, behind = call.x.shape, call.shape
    resized = [at for at in range(call.rank) if behind[at] != before[at]]
    coordinates = _coordinates(call)
    if not resized and coordinates != "tf_crop_and_resize":
        call.emit("clone", input=call.x)
        return
    pairs = [(behind[at], before[at]) for at in resized]
    if any(max(pair) > min(min(pair) * _TIMES, _UNITS) for pair in pairs):
        raise ValueError(f"it makes sizes {behind!r} of {before!r}")
    sampling = _sampling(call, coordinates, resized)
    if isinstance(sampling, str):
        call.emit(f"Resize ({sampling})", input=call.x)
    elif isinstance(sampling, tuple):
        call.emit("getitem", input=call.x, index=sampling)
    elif resized[0] >= 2:
        sizes = _sizes_of_resize(call, range(2, call.rank))
        call.emit("interpolate", input=call.x, **sampling, **sizes)
    else:
        _resize_in_front(call, resized, {**sampling, **_sizes_of_resize(call, resized)})


def _coordinates(call: Call) -> str:
    if call.node.opset < 11:
        return "asymmetric"
    return str(call.get("coordinate_transformation_mode", "half_pixel"))


def _sampling(
    call: Call, coordinates: str, resized: Sequence[int]
) -> dict[str, Any] | tuple[slice, ...] | str:
    """Return where a resize takes its numbers; its options, where no rule knows these."""
    mode = _MODES[call.get("mode", "nearest")]
    known = coordinates in ("half_pixel", "pytorch_half_pixel")
    if mode == "nearest" and (known or coordinates == "asymmetric"):
        return _nearest(call, coordinates, resized)
    if not (known or coordinates == "align_corners"):
        return coordinates
    if mode == "nearest" and _rounding(call) != "floor":
        return f"{coordinates}, {_rounding(call)}"
    return {
        "mode": mode,
        "align_corners": coordinates == "align_corners",
        "antialias": bool(call.get("antialias", 0)),
    }


_ROUNDINGS: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
}


def _rounding(call: Call) -> str:
    newer = call.node.opset > 10
    return str(call.get("nearest_mode", "round_prefer_floor" if newer else "floor"))


def _nearest(
    call: Call, coordinates: str, resized: Sequence[int]
) -> dict[str, Any] | tuple[slice, ...] | str:
    """Return the mode or the slice that takes the units that a resize does without a mean."""
    rounding, factors = _rounding(call), _factors(call)
    modes = {"nearest": 0.0, "nearest-exact": 0.5}
    index, alike = [slice(None)] * call.rank, list(modes)
    for at in resized:
        size, new = call.x.shape[at], call.shape[at]
        ratio = size / new if factors is None else 1 / factors[at]
        centred = 0.0 if coordinates == "asymmetric" or new == 1 != size else 0.5
        units = np.arange(new)
        places = np.round((units + centred) * ratio - centred, _DIGITS)
        taken = np.clip(_ROUNDINGS[rounding](places), 0, size - 1)
        others = {
            name: np.floor(np.round((units + by) * ratio, _DIGITS)) for name, by in modes.items()
        }
        alike = [one for one in alike if (np.clip(others[one], 0, size - 1) == taken).all()]
        steps = set(np.diff(taken).astype(int).tolist()) or {1}
        if len(steps) == 1 and min(steps) > 0:
            index[at] = slice(int(taken[0]), int(taken[-1]) + 1, min(steps))
    if alike:
        own = "nearest" if coordinates == "asymmetric" else "nearest-exact"
        mode = own if own in alike else alike[0]
        return {"mode": mode, "align_corners": False, "antialias": False}
    if all(index[at] != slice(None) for at in resized):
        return tuple(index)
    if coordinates != "asymmetric":  # on one side or on the other, as for a mean of both
        return {"mode": "bilinear", "align_corners": False, "antialias": False, "rounded": rounding}
    return f"{coordinates}, {rounding}"


_DIGITS = 5
"""Decimals to which places are known, as factors are written with few."""


def _factors(call: Call) -> list[float] | None:
    """Return the factors by which a resize makes every dimension larger, if it says so."""
    scales = call.node.known(2) or call.node.known(1, "scales")
    axes = call.get("axes") or range(call.rank)
    if not scales or len(scales) != len(axes):
        return None
    factors = [1.0] * call.rank
    for axis, scale in zip(axes, scales, strict=True):
        factors[axis] = scale
    return factors


def _sizes_of_resize(call: Call, places: Sequence[int]) -> dict[str, Any]:
    """Return the factors by which some dimensions are resized, else their sizes."""
    factors = _factors(call)
    if factors is not None:
        return {"size": None, "scale_factor": tuple(factors[at] for at in places)}
    return {"size": tuple(call.shape[at] for at in places)}


def _resize_in_front(call: Call, resized: Sequence[int], facts: Mapping[str, Any]) -> None:
    """Resize dimensions of which one is among the first two, behind all others."""
    others = [at for at in range(call.rank) if at not in resized]
    order = (*others, *resized)
    sizes = [call.x.shape[at] for at in order]
    x = call.emit("permute", sizes, input=call.x, dims=order)
    if len(others) != 2:
        call.emit(f"Resize of {len(resized)} dimensions", input=call.x)
        return
    made = call.emit("interpolate", [call.shape[at] for at in order], input=x, **facts)
    call.emit("permute", input=made, dims=tuple(map(order.index, range(call.rank))))


def _col2im(call: Call) -> None:
    """Put columns back on a map; sides that are padded unlike each other are not known."""
    size, kernel = call.node.known(1), call.node.known(2)
    count = 0 if kernel is None else len(kernel)
    pads = list(call.get("pads", [0] * 2 * count))
    if not size or kernel is None or count != 2 or pads[:count] != pads[count:]:
        _plain_operator(call)
        return
    call.emit(
        "col2im",
        input=call.x,
        output_size=tuple(size),
        kernel_size=tuple(kernel),
        dilation=tuple(call.get("dilations", (1,) * count)),
        padding=tuple(pads[:count]),
        stride=tuple(call.get("strides", (1,) * count)),
    )


def _depth_to_space(call: Call) -> None:
    call.emit("pixel_shuffle", input=call.x, factor=call.get("blocksize"))


def _space_to_depth(call: Call) -> None:
    call.emit("pixel_unshuffle", input=call.x, factor=call.get("blocksize"))


# --- mixing ------------------------------------------------------------------------------------


def _axes(call: Call, place: int = 1) -> tuple[int, ...] | None:
    found = call.node.known(place, "axes") if call.node.input(place) or call.get("axes") else None
    return None if found is None else tuple(found)


def _reduce(name: str) -> Lower:
    def lower(call: Call) -> None:
        axes = _axes(call)
        if not axes and call.get("noop_with_empty_axes", 0):
            call.emit("clone", input=call.x)
            return
        keep = bool(call.get("keepdims", 1))
        call.emit(name, input=call.x, dim=axes or None, keepdim=keep)

    return lower


def _along(name: str, default: int = 0) -> Lower:
    def lower(call: Call) -> None:
        call.emit(name, input=call.x, dim=call.get("axis", default))

    return lower


def _cumulative(name: str) -> Lower:
    """Sums or products of all positions in front of one, and of this one unless it is excluded."""

    def lower(call: Call) -> None:
        (axis,) = call.node.known(1) or [0]
        reverse, excluded = bool(call.get("reverse", 0)), bool(call.get("exclusive", 0))
        x, size = call.x, call.x.shape[axis]
        facts = {"dim": axis, "reverse": reverse}
        if not excluded:
            call.emit(name, input=x, **facts)
            return
        index = [slice(None)] * call.rank
        index[axis] = slice(1, size) if reverse else slice(0, size - 1)
        amounts = [0] * (2 * call.rank)
        amounts[2 * (call.rank - 1 - axis % call.rank) + reverse] = 1
        x = call.emit(name, x.shape, input=x, **facts)
        shorter = [one - (at == axis % call.rank) for at, one in enumerate(x.shape)]
        x = call.emit("getitem", shorter, input=x, index=tuple(index))
        call.emit("pad", input=x, pad=tuple(amounts), mode="constant")

    return lower


def _softmax(name: str) -> Lower:
    """Until version 13 a softmax went over all dimensions from one on, together."""

    def lower(call: Call) -> None:
        if call.node.opset >= 13:
            call.emit(name, input=call.x, dim=call.get("axis", -1))
            return
        axis = call.get("axis", 1) % max(1, call.rank)
        x = call.x
        for place in range(axis, call.rank - 1):
            if x.shape[place] > 1:
                x = call.emit(name, x.shape, input=x, dim=place)
        call.emit(name, input=x, dim=call.rank - 1)

    return lower


def _product(left: int, right: int) -> Lower:
    def lower(call: Call) -> None:
        factors = call.as_matrix(left), call.as_matrix(right)
        call.emit("matmul", output=0, input=factors[0], other=factors[1])

    return lower


def _gemm(call: Call) -> None:
    """Multiply matrices, one of which may have to be turned first."""
    if call.depends(1):
        left, right = (_turned(call, at, name) for at, name in enumerate(("transA", "transB")))
        call.emit("matmul", input=left, other=right)
        return
    x, weight = _turned(call, 0, "transA"), call.as_matrix(1)
    call.emit("linear", input=x, weight=weight if call.get("transB", 0) else _across(weight))


def _turned(call: Call, place: int, name: str) -> TensorRef:
    """Return a matrix, turned if an attribute says so."""
    x = call.as_matrix(place)
    if not call.get(name, 0):
        return x
    if call.depends(place):
        return call.emit("transpose", x.shape[::-1], input=x, dim0=0, dim1=1)
    return _across(x)


def _across(matrix: TensorRef) -> TensorRef:
    """Return a constant matrix with its rows for columns."""
    array = None if matrix.numbers is None else matrix.numbers.array
    held = None if array is None else Numbers(array.T)
    return matrix._replace(shape=matrix.shape[::-1], numbers=held)


def _einsum(call: Call) -> None:
    operands = tuple(map(call.as_matrix, range(len(call.node.inputs))))
    call.emit("einsum", equation=call.get("equation"), operands=operands)


def _attention(call: Call) -> None:
    """Scaled dot-product attention; keys of earlier runs are not followed."""
    if any(call.node.outputs[1:]) or any(map(call.has, (4, 5, 6))):
        _plain_operator(call)
        return
    counts = [call.get(name) for name in ("q_num_heads", "kv_num_heads", "kv_num_heads")]
    query, key, value = (_by_heads(call, call.of(at), count) for at, count in enumerate(counts))
    mask, causal = _mask_of_attention(call, query.shape[-2], key.shape[-2])
    given: dict[str, Any] = {
        "query": query,
        "key": key,
        "value": value,
        "attn_mask": mask,
        "is_causal": causal,
    }
    if call.rank == 4:
        call.emit("scaled_dot_product_attention", **given)
        return
    shape = (*query.shape[:-1], value.shape[-1])
    made = call.emit("scaled_dot_product_attention", shape, **given)
    sizes = [shape[at] for at in _HEADS_BEHIND]
    made = call.emit("permute", sizes, input=made, dims=_HEADS_BEHIND)
    call.emit("reshape", input=made)


_HEADS_BEHIND = (0, 2, 1, 3)
"""Order of dimensions in which heads and positions change places."""


def _by_heads(call: Call, x: TensorRef, count: int | None) -> TensorRef:
    """Return a tensor of (batch, positions, channels) with a dimension for its heads."""
    if len(x.shape) == 4 or count is None:
        return x
    batch, positions, channels = x.shape
    made = call.emit("reshape", (batch, positions, count, channels // count), input=x)
    sizes = [made.shape[at] for at in _HEADS_BEHIND]
    return call.emit("permute", sizes, input=made, dims=_HEADS_BEHIND)


def _mask_of_attention(call: Call, queries: int, keys: int) -> tuple[TensorRef | None, bool]:
    """Return the mask of an attention, if it has one, and whether it is causal beside that."""
    mask = call.as_mask(3, (queries, keys)) if call.has(3) else None
    causal = bool(call.get("is_causal", 0))
    before, after = call.get("left_window_size", -1), call.get("right_window_size", -1)
    if max(before, after) < 0 and not (causal and mask is not None):
        return mask, causal
    back = np.arange(queries)[:, None] - np.arange(keys)
    near = (back <= (before if before >= 0 else queries)) & (
        -back <= (after if after >= 0 else keys)
    )
    if causal:
        near &= back >= 0
    if mask is None:
        return call.holding(near), False
    held = Numbers(near) if mask.numbers is None else mask.numbers
    if mask.numbers is not None and held.array is not None:
        seen = held.array if held.array.dtype == bool else held.array > FAR_BELOW
        held = Numbers(seen & near)
    return mask._replace(numbers=held), False


def _recurrent(name: str) -> Lower:
    """A recurrent layer on (steps, batch, features); directions have a dimension of theirs."""

    def lower(call: Call) -> None:
        steps, batch = call.x.shape[:2]
        hidden = int(call.get("hidden_size"))
        direction = call.get("direction", "forward")
        both = 2 if direction == "bidirectional" else 1
        read = {"input": call.x, "batch_first": False, "direction": direction}
        outputs = call.node.outputs
        made = call.emit(name, (steps, batch, both * hidden), **read)
        if outputs[0]:
            parts = call.emit("reshape", (steps, batch, both, hidden), input=made)
            call.emit("permute", output=0, input=parts, dims=(0, 2, 1, 3))
        for place in range(1, len(outputs)):
            if outputs[place]:
                last = call.emit("select_last", made.shape[1:], input=made, dim=0)
                call.emit("reshape", output=place, held=(), input=last)

    return lower


# --- norms -------------------------------------------------------------------------------------


def _batch_norm(call: Call) -> None:
    held = call.all()[:3]  # what is kept of batches are no parameters
    kept = {"running_mean": call.of(3), "running_var": call.of(4)}
    call.emit("batch_norm", None, 0, held, input=call.x, **kept)


def _layer_norm(name: str) -> Lower:
    def lower(call: Call) -> None:
        axis = call.get("axis", -1) % call.rank
        call.emit(name, output=0, input=call.x, normalized_shape=call.x.shape[axis:])

    return lower


def _group_norm(call: Call) -> None:
    call.emit("group_norm", input=call.x, num_groups=call.get("num_groups"))


def _lp_norm(call: Call) -> None:
    call.emit("normalize", input=call.x, p=call.get("p", 2), dim=call.get("axis", -1))


# --- plumbing ----------------------------------------------------------------------------------


def _flatten(call: Call) -> None:
    if call.get("axis", 1) == 1:
        call.emit("flatten", input=call.x, start_dim=1, end_dim=-1)
    else:
        call.emit("reshape", input=call.x)


def _transpose(call: Call) -> None:
    order = tuple(call.get("perm") or range(call.rank)[::-1])
    call.emit("permute", input=call.x, dims=order)


def _concat(call: Call) -> None:
    """Put tensors side by side; two parts of one that changed places are a roll."""
    parts = [call.lowering.slices.get(one.number) for one in call.all()]
    if len(parts) == 2 and parts[0] and parts[1]:
        (source, axis, start, stop), (other, along, first, last) = parts[0], parts[1]
        whole = call.shape[axis]
        if (source, axis, stop) == (other, along, whole) and (first, last) == (0, start):
            x = call.lowering.numbered(source)
            shift = -start if 2 * start <= whole else whole - start
            call.emit("roll", input=x, shifts=shift, dims=axis)
            return
    call.emit("cat", tensors=tuple(call.all()), dim=call.get("axis", 1))


def _split(call: Call) -> None:
    axis = call.get("axis", 0) % call.rank
    sizes = tuple(call.result(place).shape[axis] for place in range(len(call.node.outputs)))
    call.emit("split", input=call.x, sizes=sizes, dim=axis)


def _slice(call: Call) -> None:
    starts, ends = call.node.known(1, "starts"), call.node.known(2, "ends")
    if starts is None or ends is None:
        _plain_operator(call)
        return
    axes = call.node.known(3, "axes") or list(range(len(starts)))
    steps = call.node.known(4, "steps") or [1] * len(starts)
    index = [slice(None)] * call.rank
    turned = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % call.rank
        index[place] = slice(start, end, step)  # counted from where the file counts
        if step < 0:
            last = call.x.shape[place] - 1
            taken = range(*index[place].indices(last + 1))
            turned.append(place)
            index[place] = slice(last - taken.start, last - taken.stop, -step)
    x = call.x
    if turned and call.shape == x.shape:
        call.emit("flip", input=x, dims=tuple(turned))
        return
    if turned:
        x = call.emit("flip", x.shape, input=x, dims=tuple(turned))
    made = call.emit("getitem", input=x, index=tuple(index))
    cut = [at for at in range(call.rank) if made.shape[at] != x.shape[at]]
    if len(cut) == 1 and index[cut[0]].step == 1:
        start, stop, _ = index[cut[0]].indices(x.shape[cut[0]])
        call.lowering.slices[made.number] = (x.number, cut[0], start, stop)


def _gather(call: Call) -> None:
    """Pick indices: a number, a run of numbers, any numbers, or what data says."""
    axis = call.get("axis", 0)
    if not call.depends(0):
        call.emit("embedding", input=call.of(1), weight=call.x)
        return
    indices = call.node.numbers.get(call.node.input(1))
    size = call.x.shape[axis % call.rank]
    if indices is not None and indices.ndim == 0:
        call.emit("select", input=call.x, dim=axis, index=int(indices) % size)
        return
    if indices is not None and indices.ndim == 1 and indices.size:
        listed = [int(one) % size for one in indices]
        if listed == list(range(listed[0], listed[0] + len(listed))):
            arguments = {"dim": axis, "start": listed[0], "stop": listed[-1] + 1}
            call.emit("slice", input=call.x, **arguments)
            return
    call.emit("index_select", input=call.x, dim=axis, index=call.of(1))


def _gather_elements(call: Call) -> None:
    """Pick numbers along one dimension by others."""
    arguments = {"input": call.x, "dim": call.get("axis", 0), "index": call.of(1)}
    call.emit("gather", output=0, **arguments)


_PADDING = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(call: Call) -> None:
    amounts = call.node.known(1, "pads")
    if amounts is None:
        _plain_operator(call)
        return
    axes = call.node.known(3) or list(range(call.rank))
    begin, end = [0] * call.rank, [0] * call.rank
    for place, axis in enumerate(axes):
        begin[axis % call.rank] = int(amounts[place])
        end[axis % call.rank] = int(amounts[place + len(axes)])
    pairs = [one for pair in reversed(list(zip(begin, end, strict=True))) for one in pair]
    mode = _PADDING[call.get("mode", "constant")]
    call.emit("pad", input=call.x, pad=tuple(pairs), mode=mode)


def _centre(call: Call) -> None:
    """Cut a map to some sizes, or pad it, as much on one side as on the other."""
    added = [new - old for new, old in zip(call.shape, call.x.shape, strict=True)]
    sides = [(one // 2 if one > 0 else -(-one // 2), one) for one in reversed(added)]
    pairs = [side for begin, one in sides for side in (begin, one - begin)]
    call.emit("pad", input=call.x, pad=tuple(pairs), mode="constant")


def _where(call: Call) -> None:
    """Choose between two tensors; a number in place of one fills a mask."""
    _, one, other = call.all()
    condition = call.as_mask(0)
    filled, beside = call.number(1), call.number(2)
    if filled is not None and call.depends(2):
        call.emit("masked_fill", input=other, mask=condition, value=filled)
        return
    arguments: dict[str, Any] = {"condition": condition, "input": one, "other": other}
    if beside is not None and call.depends(1):
        arguments["other"] = beside
    call.emit("where", **arguments)


def _with_mask(name: str) -> Lower:
    """Return what lowers an operator that may put a mask on scores."""

    def lower(call: Call) -> None:
        call.emit(name, input=call.as_mask(0), other=call.as_mask(1))

    return lower


_LIKE_OTHERS = """
Abs Acos Acosh Asin Asinh Atan Atanh BitShift:lshift BitwiseAnd:bitwise_and
BitwiseOr:bitwise_or BitwiseXor:bitwise_xor BitwiseNot:bitwise_not Ceil Celu Clip:clamp Cos
Cosh Div Elu Equal:eq Erf Exp Floor Gelu Greater:gt GreaterOrEqual:ge HardSigmoid HardSwish
IsInf IsNaN LeakyRelu:leaky_relu Less:lt LessOrEqual:le Log Max:maximum Mean:add Min:minimum
Mish Mod:remainder Neg Not:logical_not And:logical_and Or:logical_or Xor:logical_xor
OneHot:one_hot Pow PRelu Reciprocal Relu Round Selu Shrink:hardshrink Sigmoid Sign Sin Sinh
Softplus Softsign Sqrt Sum:add Swish:silu Tan Tanh ThresholdedRelu:threshold Trilu:tril
Identity:clone Cast:to CastLike:to Dropout QuantizeLinear:clone DequantizeLinear:clone
DynamicQuantizeLinear:clone LRN:local_response_norm InstanceNormalization:instance_norm
MeanVarianceNormalization:instance_norm Reshape Squeeze:reshape Unsqueeze:reshape Expand
Tile:repeat GatherND:gather_nd ScatterND:scatter ScatterElements:scatter
Scatter GridSample:grid_sample RoiAlign:roi_align DeformConv:deform_conv2d Det:linalg_det
AffineGrid:affine_grid
"""
"""Operators that the vocabulary has too: under their own name in small letters, or as named."""


def _like_others() -> Iterator[tuple[str, Lower]]:
    for spelled in _LIKE_OTHERS.split():
        kind, _, name = spelled.partition(":")
        yield kind, _named(name or kind.lower())


LOWERINGS: dict[str, Lower] = {
    **dict(_like_others()),
    "Add": _with_mask("add"),
    "Sub": _with_mask("sub"),
    "Mul": _with_mask("mul"),
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _quantised_conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _pool("max"),
    "AveragePool": _pool("avg"),
    "LpPool": _pool("lp"),
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("amax"),
    "GlobalLpPool": _global_pool("linalg_vector_norm"),
    "Resize": _resize,
    "Upsample": _resize,
    "Col2Im": _col2im,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "ReduceMax": _reduce("amax"),
    "ReduceMin": _reduce("amin"),
    "ReduceProd": _reduce("prod"),
    "ReduceL1": _reduce("linalg_vector_norm"),
    "ReduceL2": _reduce("linalg_vector_norm"),
    "ReduceLogSum": _reduce("logsumexp"),
    "ReduceLogSumExp": _reduce("logsumexp"),
    "ReduceSumSquare": _reduce("sum"),
    "ArgMax": _along("argmax"),
    "ArgMin": _along("argmin"),
    "TopK": _along("topk", -1),
    "CumSum": _cumulative("cumsum"),
    "CumProd": _cumulative("cumprod"),
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "Hardmax": _softmax("softmax"),
    "MatMul": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "QLinearMatMul": _product(0, 3),
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Attention": _attention,
    "LSTM": _recurrent("lstm"),
    "GRU": _recurrent("gru"),
    "RNN": _recurrent("rnn_tanh"),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm("layer_norm"),
    "RMSNormalization": _layer_norm("rms_norm"),
    "GroupNormalization": _group_norm,
    "LpNormalization": _lp_norm,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "CenterCropPad": _centre,
    "Where": _where,
}
