"""Results that are known without asking PyTorch: the same shape, type and order, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from rfa_toolbox.encodings.pytorch.shapes import empty_like, known_result

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

SMALL = st.integers(0, 4)
SIZES = st.sampled_from([0, 1, 1, 1, 2, 3, 4, 7, 8])
TYPES = st.sampled_from([torch.float32, torch.float32, torch.float32, torch.float16, torch.int64])


def rarely(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 9)) == 0


@st.composite
def tensors(draw: st.DrawFn, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw a tensor of about this shape, of some type, perhaps in another order in memory."""
    sizes = [one + 1 if rarely(draw) else one for one in shape]
    dtype = torch.float32 if rarely(draw) else draw(TYPES)
    order = list(range(len(sizes)))
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.permutations(order))
    made = torch.empty([sizes[place] for place in order], dtype=dtype, device="meta")
    made = made.permute([order.index(place) for place in range(len(order))])
    if made.dim() and rarely(draw):
        made = made[..., ::2]
    if made.dim() > 1 and rarely(draw):
        made = made[:, : draw(st.integers(1, 3))]
    if made.dim() and rarely(draw):
        made = made[..., :1].expand(*made.shape[:-1], sizes[-1])
    return made


@st.composite
def spread(draw: st.DrawFn, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw a tensor that is repeated, or not, to have a shape; perhaps of fewer dimensions."""
    sizes = [draw(st.sampled_from([1, one, one])) for one in shape]
    return draw(tensors(tuple(sizes[draw(st.integers(0, 3)) :])))


ACTIVATIONS = (
    *(functional.relu, functional.relu6, functional.silu, functional.mish),
    *(functional.hardswish, functional.hardsigmoid, functional.hardtanh),
)
PLAIN = (
    *(torch.relu, torch.sigmoid, torch.Tensor.relu, torch.Tensor.sigmoid),
    *(functional.gelu, torch.Tensor.sigmoid_),
)
ARITHMETIC = (
    *(torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__, torch.Tensor.add_),
    *(torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__, torch.Tensor.sub),
    *(torch.div, torch.Tensor.__truediv__, torch.Tensor.mul_, torch.Tensor.__isub__),
    *(torch.eq, torch.Tensor.__eq__, torch.ne, torch.Tensor.__ne__),
)


@st.composite
def convolutions(draw: st.DrawFn, image: torch.Tensor) -> Call:
    groups, read, made = (draw(st.integers(1, 2)) for _ in range(3))
    channels = image.shape[1] // groups if draw(st.booleans()) else read
    pair = st.one_of(SMALL, st.tuples(SMALL, SMALL))
    weight = draw(tensors((made * groups, channels, draw(SMALL), draw(SMALL))))
    bias = draw(st.one_of(st.none(), tensors((made * groups,))))
    padding = draw(st.one_of(pair, pair, st.sampled_from(["same", "valid"])))
    return torch.conv2d, (image, weight, bias, draw(pair), padding, draw(pair), groups), {}


@st.composite
def norms(draw: st.DrawFn, image: torch.Tensor) -> Call:
    def vector(*sizes: int) -> Any:
        return draw(st.one_of(st.none(), tensors(sizes)))

    if draw(st.booleans()):
        normal = tuple(image.shape[draw(st.integers(1, 4)) :])
        return functional.layer_norm, (image, normal, vector(*normal), vector(*normal), 1e-5), {}
    several = [vector(image.shape[1]) for _ in range(4)]
    named = {"weight": several[2], "bias": several[3], "training": draw(st.booleans())}
    return functional.batch_norm, (image, *several[:2]), named


@st.composite
def rarer(draw: st.DrawFn, image: torch.Tensor) -> Call:
    sizes, places = tuple(image.shape), st.integers(-5, 4)
    match draw(st.sampled_from(["matmul", "fill", "normalize", "softmax", "rows"])):
        case "matmul":
            other = draw(tensors((*sizes[:2], sizes[3], draw(SMALL))))
            return (
                draw(st.sampled_from([torch.matmul, torch.Tensor.__matmul__])),
                (image, other),
                {},
            )
        case "fill":
            mask = draw(st.one_of(tensors(sizes), spread(sizes)))
            mask = mask.bool() if draw(st.integers(0, 4)) else mask
            return torch.Tensor.masked_fill, (image, mask, draw(st.sampled_from([0, -1.5]))), {}
        case "normalize":
            power = draw(st.sampled_from([2.0, 2.0, 1.0, 0.0, float("inf")]))
            return functional.normalize, (image, power, draw(places)), {}
        case "softmax":
            return functional.softmax, (image,), {"dim": draw(places)}
    index = draw(tensors(tuple(draw(st.lists(SMALL, max_size=2)))))
    index = index.long() if draw(st.integers(0, 4)) else index
    return torch.Tensor.__getitem__, (image, index), {}


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a function and arguments that mostly fit."""
    shape = tuple(
        draw(st.sampled_from([0, 1, 1, 1, 2, 3, 4, 7, 8])) or rarely(draw) for _ in "NCHW"
    )
    image = draw(tensors(tuple(map(int, shape))))
    kind = draw(
        st.sampled_from(
            ["conv", "linear", "norm", "plain", "active", "two", "cat", "more", "rarer"]
        )
    )
    if kind == "rarer":
        return draw(rarer(image))
    if kind == "conv":
        return draw(convolutions(image))
    if kind == "norm":
        return draw(norms(image))
    if kind == "linear":
        made = draw(st.integers(0, 3))
        bias = draw(st.one_of(st.none(), tensors((made,))))
        return functional.linear, (image, draw(tensors((made, image.shape[-1]))), bias), {}
    if kind == "plain":
        return draw(st.sampled_from(PLAIN)), (image,), {}
    if kind == "active":
        return draw(st.sampled_from(ACTIVATIONS)), (image,), {"inplace": draw(st.booleans())}
    if kind == "two":
        numbers = st.sampled_from([2, 2.5, True, 1j, 2**70])
        other = draw(st.one_of(tensors(tuple(image.shape)), spread(tuple(image.shape)), numbers))
        given = (other, image) if isinstance(other, torch.Tensor) and draw(st.booleans()) else None
        return draw(st.sampled_from(ARITHMETIC)), given or (image, other), {}
    places = st.integers(-5, 4)
    if kind == "cat":
        several = draw(st.lists(tensors(tuple(image.shape)), max_size=2))
        return torch.cat, ([image, *several], draw(places)), {}
    if draw(st.booleans()):
        pairs = [draw(st.one_of(SMALL, st.tuples(SMALL, SMALL))) for _ in range(4)]
        function = draw(st.sampled_from([torch.max_pool2d, functional.max_pool2d]))
        return function, (image, *pairs, draw(st.booleans())), {}
    if draw(st.booleans()):
        size = draw(st.one_of(SMALL, st.tuples(SMALL, st.one_of(SMALL, st.none()))))
        return functional.adaptive_avg_pool2d, (image, size), {}
    few = st.lists(places, max_size=2).map(tuple)
    return torch.roll, (image, draw(st.one_of(SMALL, few)), draw(st.one_of(places, few))), {}


UNIT_BEHIND = torch.empty_strided((2, 2, 2, 1), (4, 1, 2, 8), device="meta")


@hypothesis.given(calls())
@hypothesis.example((torch.relu, (UNIT_BEHIND,), {}))
@hypothesis.settings(max_examples=100, deadline=None)
def test_a_known_result_is_that_of_pytorch(call: Call) -> None:
    function, args, keywords = call
    first = args[0][0] if isinstance(args[0], list) else args[0]
    with torch.no_grad():
        before = first._version
        found = known_result(function, args, keywords)
        written = first._version - before
        expected = None
        with contextlib.suppress(Exception):
            expected = function(*args, **keywords)
    if found is None:
        assert not written
        return
    assert expected is not None
    assert (found.shape, found.stride()) == (expected.shape, expected.stride())
    assert (found.dtype, found.device) == (expected.dtype, expected.device)
    assert (found is first) == (expected is first)
    assert bool(written) == (first._version > before + written)


IMAGE = torch.empty(1, 4, 8, 8, device="meta")
VECTOR = torch.empty(4, device="meta")
USUAL: dict[str, Call] = {
    "conv2d": (torch.conv2d, (IMAGE, IMAGE[:, :, :3, :3].clone(), None, 1, 1, 1, 1), {}),
    "linear": (functional.linear, (IMAGE, torch.empty(3, 8, device="meta")), {}),
    "layer_norm": (functional.layer_norm, (IMAGE, (8,), None, None, 1e-5), {}),
    "channels last": (functional.layer_norm, (IMAGE.permute(0, 2, 3, 1), (4,), VECTOR, VECTOR), {}),
    "batch_norm": (functional.batch_norm, (IMAGE, VECTOR, VECTOR), {"training": False}),
    "gelu": (functional.gelu, (IMAGE,), {}),
    "relu6 in place": (functional.relu6, (IMAGE.clone(),), {"inplace": True}),
    "add": (torch.Tensor.add, (IMAGE, IMAGE), {}),
    "gate": (torch.Tensor.mul, (IMAGE[:, :, :1, :1].clone(), IMAGE), {}),
    "number": (torch.Tensor.mul, (IMAGE, 0.5), {}),
    "query": (torch.Tensor.mul, (IMAGE[:, :, :4].permute(0, 2, 1, 3), 0.5), {}),
    "distances": (torch.Tensor.sub, (VECTOR[:, None].clone(), VECTOR), {}),
    "in place": (torch.Tensor.add_, (IMAGE.clone(), IMAGE), {}),
    "cat": (torch.cat, ([IMAGE, IMAGE], 1), {}),
    "cat parts": (torch.cat, ([IMAGE[:, :2], IMAGE[..., ::2, :].clone()[:, :2]], 2), {}),
    "conv2d of a part": (torch.conv2d, (IMAGE[:, 1:3], torch.empty(3, 2, 1, 1, device="meta")), {}),
    "masked": (torch.Tensor.masked_fill, (IMAGE, IMAGE == 0, -100.0), {}),
    "scores": (torch.Tensor.matmul, (IMAGE.transpose(1, 2), IMAGE.permute(0, 2, 3, 1)), {}),
    "normalize": (functional.normalize, (IMAGE,), {"dim": -1}),
    "softmax": (functional.softmax, (IMAGE,), {"dim": -1}),
    "rows": (torch.Tensor.__getitem__, (IMAGE[0, 0].clone(), IMAGE[0].long()), {}),
    "roll": (torch.roll, (IMAGE, (1, -1), (2, 3)), {}),
    "largest": (torch.max_pool2d, (IMAGE, 3), {"stride": 2, "padding": 1}),
    "largest, beyond": (torch.max_pool2d, (IMAGE, 3, 2, 0, 1, True), {}),
    "pool": (functional.adaptive_avg_pool2d, (IMAGE, 1), {}),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_calls_are_known(name: str) -> None:
    function, args, keywords = USUAL[name]
    with torch.no_grad():
        found = known_result(function, args, keywords)
        assert found is not None
        expected = function(*args, **keywords)
    assert (found.shape, found.stride()) == (expected.shape, expected.stride())


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_sequence_is_not_gone_through(kind: Any, options: Any, batch_first: bool) -> None:
    class Asked(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            keywords = kwargs or {}
            result = function(*args, **keywords)
            found = known_result(function, args, keywords)
            if isinstance(found, tuple):
                seen.append((result, found))
            return result

    seen: list[Any] = []
    layer = kind(5, 7, batch_first=batch_first, **options).to("meta")
    with torch.no_grad(), Asked():
        layer(torch.empty(2, 6, 5, device="meta"))
    ((expected, found),) = seen
    assert [(one.shape, one.stride(), one.dtype) for one in found] == [
        (one.shape, one.stride(), one.dtype) for one in expected
    ]


def test_calls_that_gradients_follow_are_left_to_pytorch() -> None:
    assert known_result(functional.gelu, (IMAGE,), {}) is None


@hypothesis.given(tensors((2, 1, 3, 2)))
@hypothesis.settings(max_examples=30, deadline=None)
def test_what_stands_for_a_tensor_is_in_its_order(tensor: torch.Tensor) -> None:
    made, expected = empty_like(tensor), torch.empty_like(tensor, device="meta")
    assert (made.shape, made.stride()) == (expected.shape, expected.stride())
    assert made.dtype == tensor.dtype
