"""Operations of Keras that networks rarely hold: how they are lowered, and which have no rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from rfa_toolbox.encodings.tensorflow_keras import lowering_layers as layers
from rfa_toolbox.encodings.tensorflow_keras.lowering import Call, operand_of, per_axis, words
from rfa_toolbox.operators.record import TensorRef

__all__ = ["RARER", "WITHOUT_RULE"]

Shape: TypeAlias = "Sequence[int]"


def _axis(call: Call, default: int, *names: str) -> int:
    return layers.place_of(call.get(*(names or ("axis",)), default=default), len(call.x.shape))


def _together(call: Call) -> TensorRef:
    """Return what is made of all tensors at one position."""
    if len(call.tensors) == 1:
        return call.x
    shape = layers.broadcast([one.shape for one in call.tensors])
    return call.emit("where", shape, operands=tuple(call.tensors))


def _without(shape: Shape, *axes: int) -> list[int]:
    return [size for at, size in enumerate(shape) if at not in axes]


def _reduced(call: Call, tensor: TensorRef, axes: Sequence[int]) -> TensorRef:
    """Return a tensor in which every number depends on all of some axes, which are gone."""
    if not axes:
        return tensor
    shape = _without(tensor.shape, *axes)
    return call.emit("mean", shape, input=tensor, dim=tuple(axes), keepdim=False)


def _turned(call: Call) -> TensorRef:
    """Turn by right angles: mirror an axis, and swap it with another."""
    x, turns = call.x, call.get("k", default=1) % 4
    first, second = (layers.place_of(one, len(x.shape)) for one in call.get("axes", default=(0, 1)))
    mirrored = {0: (), 1: (second,), 2: (first, second), 3: (first,)}[turns]
    if mirrored:
        x = call.emit("flip", x.shape, input=x, dims=mirrored)
    order = list(range(len(x.shape)))
    if turns % 2:
        order[first], order[second] = second, first
    return call.permuted(x, order)


def _appended(call: Call) -> TensorRef:
    """Put one tensor behind another one, flat where no axis is named."""
    axis = call.get("axis")
    given = [*map(operand_of, _operands(call))]
    if axis is None:
        given = [_flat(call, one) for one in given]
    return layers.concatenated(call, axis or 0, given)


def _flat(call: Call, value: Any) -> TensorRef:
    """Return all numbers of a tensor in a row."""
    tensor = operand_of(value)
    return call.reshaped(tensor, (math.prod(tensor.shape),))


def _operands(call: Call) -> list[Any]:
    """Return the operands of an operation with two of them, or one list of several."""
    named = [call.keywords[one] for one in ("x1", "x2", "x", "y") if one in call.keywords]
    given = [*call.arguments, *named]
    return list(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else given[:2]


_STACKED = {"vstack": 0, "hstack": 1, "dstack": 2}


def _stacked(call: Call) -> TensorRef:
    """Put tensors one behind the other along the first, second or third axis."""
    axis = _STACKED[call.kind.lower()]
    if len(call.x.shape) <= max(axis, 1):
        return call.unknown("it gives tensors of so few dimensions new ones")
    return layers.concatenated(call, axis, call.tensors)


def _cross(call: Call) -> TensorRef:
    """Vectors of three numbers: each depends on all three of both."""
    axis = call.get("axis", "axisa", default=-1)
    made = _together(call)
    place = layers.place_of(axis, len(made.shape))
    return call.emit("sort", made.shape, input=made, dim=(place,))


def _outer(call: Call) -> TensorRef:
    """Every number of one tensor times every number of another one."""
    return layers.einsum(call, "a,b->ab", *(_flat(call, one) for one in _operands(call)))


def _inner(call: Call) -> TensorRef:
    """Sum products over the last axis of both; ``vdot`` over all numbers."""
    left, right = map(operand_of, _operands(call))
    if call.kind.lower() == "vdot":
        left, right = _flat(call, left), _flat(call, right)
    first = "abcdefghijklm"[: len(left.shape) - 1]
    second = "nopqrstuvwxy"[: len(right.shape) - 1]
    return layers.einsum(call, f"{first}z,{second}z->{first}{second}", left, right)


def _correlations(call: Call) -> TensorRef:
    """Compare every row with every other one, over all their numbers."""
    x = call.x
    if len(x.shape) != 2:
        return call.unknown("it correlates other than the rows of a matrix")
    return layers.einsum(call, "az,bz->ab", x, x)


def _distances(call: Call) -> TensorRef:
    """Distances between the vectors of one list and of another one."""
    left, right = call.tensors[0], call.tensors[-1]
    first = "abcdefghij"[: len(left.shape) - 2]
    return layers.einsum(call, f"{first}xz,{first}yz->{first}xy", left, right)


def _differences(call: Call) -> TensorRef:
    """Differences of neighbours, ``n`` times."""
    x, times = call.x, call.get("n", default=1)
    axis = _axis(call, -1)
    shape = [max(0, size - times * (at == axis)) for at, size in enumerate(x.shape)]
    return call.emit("diff", shape, input=x, n=times, dim=axis)


def _integral(call: Call) -> TensorRef:
    return _reduced(call, call.x, (_axis(call, -1),))


def _to_one_number(call: Call) -> TensorRef:
    made = _together(call)
    return _reduced(call, made, range(len(made.shape)))


def _to_one_per_image(call: Call) -> TensorRef:
    made = _together(call)
    return _reduced(call, made, range(1, len(made.shape)))


def _per_class(call: Call) -> TensorRef:
    """Compare scores of classes, which an axis holds, with what is right, position by position."""
    scores = max(call.tensors, key=lambda one: len(one.shape))
    axis = layers.place_of(call.get("axis", default=-1), len(scores.shape))
    made = _reduced(call, scores, (axis,))
    others = [one for one in call.tensors if one is not scores]
    others = [one if one.shape == made.shape else _reduced(call, one, (axis,)) for one in others]
    return call.emit("where", made.shape, operands=(made, *others))


_MATRICES = {
    "cholesky": ("linalg_cholesky", 1),
    "choleskyinverse": ("linalg_inv", 1),
    "eig": ("linalg_eig", 2),
    "eigh": ("linalg_eigh", 2),
    "inv": ("linalg_inv", 1),
    "lufactor": ("linalg_qr", 2),
    "pinv": ("linalg_pinv", 1),
    "qr": ("linalg_qr", 2),
    "slogdet": ("linalg_slogdet", 2),
    "svd": ("linalg_svd", 3),
}
"""The operator that does the same, and how many results it has."""


def _on_matrices(call: Call) -> list[TensorRef]:
    """Every number of a result depends on the whole matrix."""
    name, count = _MATRICES[call.kind.lower()]
    shapes = [call.lowering.expected(call.x.shape, at) for at in range(count)]
    return call.emit_all(name, shapes, input=call.x)


def _per_matrix(call: Call) -> TensorRef:
    rank = len(call.x.shape)
    return _reduced(call, call.x, range(max(0, rank - 2), rank))


def _frames(call: Call) -> TensorRef:
    """Windows along the last axis, their contents in a new one."""
    size = call.get("sequence_length", default=1)
    return _framed(call, call.x, size, call.get("sequence_stride", default=1))


def _framed(call: Call, x: TensorRef, size: int, step: int) -> TensorRef:
    shape = (*x.shape[:-1], 1 + (x.shape[-1] - size) // step, size)
    return call.emit("unfold", shape, input=x, dim=len(x.shape) - 1, size=size, step=step)


def _spectrum(call: Call) -> list[TensorRef]:
    """Spectra of windows, which are shorter than the transform where a model says so."""
    x, size = call.x, call.get("sequence_length", default=1)
    length = call.get("fft_length", default=size)
    beyond = length // 2 if call.get("center", default=True) else 0
    begin = beyond - (length - size) // 2
    end = beyond - (length - size - (length - size) // 2)
    if begin or end:
        sizes = (*x.shape[:-1], x.shape[-1] + begin + end)
        mode = "reflect" if min(begin, end) > 0 else "constant"
        x = call.emit("pad", sizes, input=x, pad=(begin, end), mode=mode)
    frames = _framed(call, x, size, call.get("sequence_stride", default=1))
    shape = (*frames.shape[:-1], length // 2 + 1)
    return call.emit_all("fft_fftn", [shape] * 2, input=frames, dim=(len(shape) - 1,))


def _signal(call: Call) -> TensorRef:
    """The signal of which spectra are given."""
    spectra = _together(call)
    rank = len(spectra.shape)
    x = call.permuted(spectra, (*range(rank - 2), rank - 1, rank - 2))
    size, step = call.get("fft_length", default=1), call.get("sequence_stride", default=1)
    centred = bool(call.get("center", default=True))
    whole = size + step * (x.shape[-1] - 1) - 2 * (size // 2) * centred
    length = call.get("length", default=whole)
    return call.emit(
        "istft",
        (*x.shape[:-2], length),
        input=x,
        n_fft=size,
        hop_length=step,
        win_length=call.get("sequence_length", default=size),
        center=centred,
        length=length,
    )


def _columns(call: Call) -> TensorRef:
    """Windows become columns of a matrix, of maps with channels first."""
    x, window = call.x, _window(call)
    places = [
        (size + 2 * padding - rate * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, rate, padding in zip(x.shape[2:], *window.values(), strict=True)
    ]
    channels = x.shape[1] * math.prod(window["kernel_size"])
    return call.emit("im2col", (x.shape[0], channels, math.prod(places)), input=x, **window)


def _folded(call: Call) -> TensorRef:
    """Columns of a matrix become the windows of a map again."""
    x, window = call.x, _window(call)
    target = per_axis(call.get("output_size", default=1), 2)
    shape = (x.shape[0], x.shape[1] // math.prod(window["kernel_size"]), *target)
    return call.emit("col2im", shape, input=x, output_size=target, **window)


def _window(call: Call) -> dict[str, Any]:
    usual = {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": 0}
    return {name: per_axis(call.get(name, default=one), 2) for name, one in usual.items()}


def _updated(call: Call) -> TensorRef:
    """Write a part at a place that the model says, or that it computes."""
    updates = call.tensors[-1]
    starts = [*call.arguments[1:2], call.keywords.get("start_indices")]
    where = next((one for one in starts if isinstance(one, list | tuple)), None)
    index: Any = TensorRef(-1, (len(call.x.shape),))
    if where is not None and all(type(one) is int for one in where):
        index = tuple(
            slice(start, start + size) for start, size in zip(where, updates.shape, strict=True)
        )
    return call.emit("setitem", call.x.shape, input=call.x, index=index, value=updates)


def _scattered(call: Call) -> TensorRef:
    """Write numbers at places that are computed: anywhere, as far as is known."""
    shape = call.get("shape", default=list(call.x.shape))
    return call.emit("scatter", [int(one) for one in shape], input=call.tensors[-1])


def _cumulated(call: Call) -> TensorRef:
    """Combine what is in front along an axis, with a function that works on one position."""
    axis = _axis(call, 0)
    reverse = bool(call.get("reverse"))
    return call.emit("cumsum", call.x.shape, input=call.x, dim=axis, reverse=reverse)


def _powers(call: Call) -> TensorRef:
    count = int(call.get("N", "n", default=call.x.shape[0]))
    shape = (*call.x.shape, 1)
    opened = call.emit("unsqueeze", shape, input=call.x, dim=len(shape) - 1)
    return call.emit("expand", (*call.x.shape, count), input=opened)


def _same(call: Call) -> TensorRef:
    return call.x


# --- the tables ------------------------------------------------------------------------------

_FAMILIES: tuple[tuple[list[str], layers.Lower], ...] = (
    (words("array view"), _same),
    (words("allclose psnr"), _to_one_number),
    (words("ctcloss ssim"), _to_one_per_image),
    (words("categoricalcrossentropy intopk sparsecategoricalcrossentropy"), _per_class),
    (words("det logdet matrixrank"), _per_matrix),
    (list(_MATRICES), _on_matrices),
    (list(_STACKED), _stacked),
    (words("inner vdot"), _inner),
    (["append"], _appended),
    (["associativescan"], _cumulated),
    (["cdist"], _distances),
    (["corrcoef"], _correlations),
    (["cross"], _cross),
    (["diff"], _differences),
    (["extractsequences"], _frames),
    (["fold"], _folded),
    (["istft"], _signal),
    (["outer"], _outer),
    (["rot90"], _turned),
    (words("scatter"), _scattered),
    (["sliceupdate"], _updated),
    (["stft"], _spectrum),
    (["trapezoid"], _integral),
    (["unfold"], _columns),
    (["vander"], _powers),
)

RARER: dict[str, layers.Lower] = {name: rule for names, rule in _FAMILIES for name in names}
"""How to lower them, by their canonical names."""

_CODE = "it calls code of its own, which is not followed"
_MAKES = "it makes numbers of a size, of which none is at a position"
_DATA = "how many numbers it returns, or where they go, depends on what it reads"
_SYSTEM = "which positions the solution of a system of equations has is not defined"
_MATRIX = "a diagonal or a block matrix has positions on two axes at once"

WITHOUT_RULE: dict[str, str] = {
    **dict.fromkeys(words("cond foriloop map scan switch vectorizedmap whileloop jvp"), _CODE),
    **dict.fromkeys(words("arange full geomspace linspace logspace meshgrid ndim size"), _MAKES),
    **dict.fromkeys(
        words("""
        bincount ctcdecode histogram multihot nonzero scatterupdate searchsorted
        segmentmax segmentmin segmentprod segmentreduction segmentsum unique unravelindex
        """),
        _DATA,
    ),
    **dict.fromkeys(words("lstsq solve solvetriangular"), _SYSTEM),
    **dict.fromkeys(words("diag diagflat diagonal kron trace"), _MATRIX),
    "correlate": "it works on one sequence, without a batch or channels",
    "function": "it is a graph of operations, which is read instead of it",
}
"""Why an operation has no rule; it counts as neutral, and its node is unknown."""
