"""A layer is what its operator is, whatever the size of the image that a graph was encoded with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import input_resolution_range
from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.pytorch.measure import INF, Function, captures, encode
from tests.pytorch.test_zoo import build

DESIGNED = {"inception_v3": (75, 299), "alexnet": (63, 224), "squeezenet1_0": (32, 224)}
"""The smallest size at which a model runs, and one at which all of its maps are larger."""

QUICK = ("alexnet", "mobilenet_v3_small", "resnet18", "squeezenet1_0", "vgg11")
THOROUGH = (
    "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "regnet_x_400mf", "resnet50", "shufflenet_v2_x0_5", "vgg16",
)  # fmt: skip


def numbers(graph: EnrichedNetworkNode) -> list[tuple[Any, ...]]:
    """Return per node what does not depend on the size: not what is said to depend on it."""
    return [
        (
            node.name,
            *(node.layer_info.kernel_size, node.layer_info.stride_size, node.layer_info.dilation),
            *(node.receptive_field_min, node.receptive_field_info),
        )
        for node in graph.all_layers
        if not node.layer_info.resolution_dependent
        and not any(one.layer_info.resolution_dependent for one in node.predecessors)
    ]


@pytest.mark.parametrize(
    "name",
    [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in THOROUGH)],
)
def test_torchvision_models_have_the_same_numbers_at_all_sizes(torchvision: Any, name: str) -> None:
    model = build(torchvision, name).eval()
    small, large = DESIGNED.get(name, (32, 399))
    graphs = [encode(model, (1, 3, size, size)) for size in (small, large)]
    assert numbers(graphs[0]) == numbers(graphs[1])
    assert input_resolution_range(graphs[0]) == input_resolution_range(graphs[1])


def eeg() -> nn.Module:
    """Convolutions over time, then one over all electrodes, as in EEGNet."""
    time, electrodes = nn.Conv2d(1, 8, (1, 64), padding=(0, 32)), nn.Conv2d(8, 8, (22, 1))
    return nn.Sequential(time, electrodes, nn.AvgPool2d((1, 4)), nn.Conv2d(8, 8, (1, 16)))


def strided(count: int, last: nn.Module) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(1, 1, 3, 2, 1) for _ in range(count)), last)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], tuple[float, ...], tuple[float, ...]]] = {
    "a pooling along the other axis": (eeg(), (1, 1, 22, 1000), (22, 127), (1, 4)),
    "a pooling over all of a map": (strided(2, nn.MaxPool2d(2)), (1, 1, 8, 8), (11, 11), (8, 8)),
    "a pooling with the rest of a map": (
        nn.MaxPool2d(3, 2, ceil_mode=True), (1, 1, 2, 16), (3, 3), (2, 2),
    ),
    "strides over one unit": (
        strided(5, nn.Conv2d(1, 1, 3, padding=1)), (1, 1, 8, 8), (127, 127), (32, 32),
    ),
    "a slice of one unit": (
        Function(lambda s, x: s.c(x[..., ::4, ::4]), c=nn.Conv2d(1, 1, 3, padding=1)),
        (1, 1, 4, 4), (9, 9), (4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_a_map_as_small_as_a_window_does_not_make_it_global(name: str) -> None:
    model, shape, field, jump = LAYERS[name]
    graph = encode(model, shape)
    assert (graph.receptive_field_max, graph.certainty) == (field, "exact")
    found = graph.receptive_field_info[0].multiplicator
    assert found == jump


GLOBAL: dict[str, Any] = {
    "pooled to one": lambda s, x: F.adaptive_avg_pool2d(s.c(x), 1),
    "mean over space": lambda s, x: s.c(x).mean((2, 3)),
    "a kernel of the size of the map": lambda s, x: F.avg_pool2d(s.c(x), x.shape[2] - 2),
}


@pytest.mark.parametrize("size", [8, 40])
@pytest.mark.parametrize("name", GLOBAL)
def test_what_takes_in_all_of_a_map_at_any_size_is_global(name: str, size: int) -> None:
    graph = encode(Function(GLOBAL[name], c=nn.Conv2d(1, 1, 3)), (1, 1, size, size))
    assert graph.receptive_field_min == (INF, INF)
    assert graph.certainty == "exact"


GATES: dict[str, Any] = {
    "convolutions": lambda s, x: x * s.e(F.avg_pool2d(x, 16)).sigmoid(),
    "dense layers": lambda s, x: x * s.d(F.avg_pool2d(x, 16).flatten(1)).view(1, 4, 1, 1),
    "nothing": lambda s, x: x * F.max_pool2d(x, 16),
}


@pytest.mark.parametrize("name", GATES)
def test_a_gate_that_pools_a_map_of_known_size_is_a_gate(name: str) -> None:
    layers = {"c": nn.Conv2d(1, 4, 3, padding=1), "e": nn.Conv2d(4, 4, 1), "d": nn.Linear(4, 4)}
    model = Function(lambda s, x: GATES[name](s, s.c(x)), **layers)
    graph = encode(model, (1, 1, 16, 16))
    assert graph.receptive_field_max == (3, 3)
    assert encode(model, (1, 1, 16, 16), global_ops="count").receptive_field_max == (INF, INF)


def test_an_axis_that_nothing_pools_stays_finite() -> None:
    graph = encode(eeg(), (1, 1, 22, 1000))
    assert all(max(node.receptive_field_max) < math.inf for node in graph.all_layers)
    with torch.no_grad():
        assert eeg()(torch.zeros(1, 1, 22, 1000)).shape[2] == 1


def context(s: Any, x: torch.Tensor) -> torch.Tensor:
    """What an attention over all places pools, as in a global context block."""
    weights = s.a(x).flatten(2).softmax(-1)
    return x + (x.flatten(2) @ weights.transpose(1, 2))[..., None]  # type: ignore[no-any-return]


def modulated(s: Any, x: torch.Tensor) -> torch.Tensor:
    """Focal modulation: wider and wider context, each weighed by a part of the map itself."""
    query, level, whole = s.f(x).split((4, 1, 1), 1)
    near = s.n(x).relu()
    return query * (near * level + near.mean((2, 3), keepdim=True) * whole)  # type: ignore[no-any-return]


def across(s: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention over channels, of tokens that lie last."""
    several = s.q(x.flatten(2).transpose(1, 2))
    q, k, v = several.unflatten(2, (3, 2, 2)).permute(2, 0, 3, 4, 1)
    made = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2)
    return x + made.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


BLOCKS: dict[str, Any] = {"context": context, "modulation": modulated, "across": across}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_the_same_numbers_on_a_map_of_one_unit(name: str) -> None:
    layers = {
        "c": nn.Conv2d(1, 4, 8, 8), "a": nn.Conv2d(4, 1, 1), "f": nn.Conv2d(4, 6, 1),
        "n": nn.Conv2d(4, 4, 3, padding=1, groups=4), "q": nn.Linear(4, 12),
    }  # fmt: skip
    model = Function(lambda s, x: BLOCKS[name](s, s.c(x)), **layers)
    one, several = (encode(model, (1, 1, size, size)) for size in (8, 32))
    assert numbers(one) == numbers(several)


def test_a_map_of_one_unit_that_meets_a_larger_one_depends_on_the_size() -> None:
    layers = {"c": nn.Conv2d(1, 1, 2, 2), "d": nn.Conv2d(1, 1, 3, 2, 1)}
    graph = encode(Function(lambda s, x: s.c(x) + s.d(x), **layers), (1, 1, 3, 3))
    (spread,) = (node for node in graph.all_layers if node.layer_info.name == "expand")
    assert spread.layer_info.resolution_dependent


def pooled_parts(s: Any, x: torch.Tensor) -> torch.Tensor:
    """A mean over each of 4 x 4 parts of a map, as adaptive pooling takes it."""
    y = s.c(x)
    high, wide = (size // 4 for size in y.shape[2:])
    return s.d(y.view(1, 4, 4, high, 4, wide).mean((3, 5)))  # type: ignore[no-any-return]


def attention_in_parts(s: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention within each of 4 x 4 parts of a map."""
    y = s.c(x)
    high, wide = (size // 4 for size in y.shape[2:])
    t = y.view(1, 4, 4, high, 4, wide).permute(0, 2, 4, 3, 5, 1).reshape(16, high * wide, 4)
    t = F.scaled_dot_product_attention(t, t, t).view(1, 4, 4, high, wide, 4)
    return t.permute(0, 5, 1, 3, 2, 4).reshape(y.shape)


def strips_side_by_side(s: Any, x: torch.Tensor) -> torch.Tensor:
    """A mean over each of 4 strips of a map, which ``chunk`` cuts."""
    strips = [one.mean(2, keepdim=True) for one in s.c(x).chunk(4, 2)]
    return torch.cat(strips, 2)


PARTS: dict[str, Any] = {
    "pooled": pooled_parts, "attention": attention_in_parts, "strips": strips_side_by_side,
}  # fmt: skip


@captures
@pytest.mark.parametrize("name", PARTS)
def test_windows_that_grow_with_the_map_depend_on_the_size(name: str, capture: str) -> None:
    layers = {"c": nn.Conv2d(1, 4, 3, padding=1), "d": nn.Conv2d(4, 4, 3, padding=1)}
    graphs = [encode(Function(PARTS[name], **layers), (1, 1, n, n), capture) for n in (16, 64)]
    assert numbers(graphs[0]) == numbers(graphs[1])
    assert input_resolution_range(graphs[0]) == input_resolution_range(graphs[1])
    with pytest.raises(InvalidGraphError):
        tile_plan(graphs[1], 64, 48)


def share_of(y: torch.Tensor, part: float = 0.75) -> int:
    return int(part * y.shape[2])


SHARES: dict[str, Any] = {
    "a half": lambda y: y[:, :, : y.shape[2] // 2],
    "a part of a part": lambda y: y[:, :, : share_of(y)][:, :, : y.shape[2] // 2],
    "three quarters": lambda y: y[:, :, : share_of(y)],
    "the last ones": lambda y: y[:, :, -share_of(y) :],
    "all but the last ones": lambda y: y[:, :, : -share_of(y, 0.25)],
    "the middle": lambda y: y[:, :, share_of(y, 0.25) : share_of(y)],
    "a run": lambda y: y.narrow(2, share_of(y, 0.125), share_of(y)),
    "the larger part": lambda y: y.split([share_of(y), y.shape[2] - share_of(y)], 2)[0],
    "cropped": lambda y: F.pad(y, (0, -share_of(y, 0.25))),
    "some blocks": lambda y: y.unflatten(2, (4, -1))[:, :, :3].flatten(2),
    "some chunks": lambda y: torch.cat(y.chunk(4, 2)[1:], 2),
}
NUMBERS: dict[str, Any] = {
    "the first": lambda y: y[:, :, :20],
    "the last": lambda y: y[:, :, -20:],
    "a run": lambda y: y.narrow(2, 2, 20),
    "what is cut off first": lambda y: y.split(20, 2)[0],
}
READ: dict[str, Any] = {
    "recurrent": lambda s, y: s.r(y.mT)[0].mT,
    "mean": lambda s, y: y.mean(2, keepdim=True).expand(-1, -1, 4),
    "a rectifier and recurrent": lambda s, y: s.r(y.relu().mT)[0].mT,
    "pooled to one": lambda s, y: F.adaptive_avg_pool1d(y.relu(), 1),
    "attention": lambda s, y: F.scaled_dot_product_attention(*[y.relu().mT] * 3).mT,
}
SEEN = {"a half": 12, "a part of a part": 12, "the middle": 12}


def reader(part: Any, reads: str) -> nn.Module:
    return Function(
        lambda s, x: READ[reads](s, part(s.c(x))),
        c=nn.Conv1d(4, 4, 3, padding=1),
        r=nn.GRU(4, 2, batch_first=True, bidirectional=True),
    )


@pytest.mark.parametrize(
    ("share", "reads"),
    [*((one, "a rectifier and recurrent") for one in SHARES), *(("a run", one) for one in READ)],
)
def test_all_of_a_share_of_the_map_depends_on_the_size(share: str, reads: str) -> None:
    graph = encode(reader(SHARES[share], reads), (1, 4, 24))
    assert graph.layer_info.resolution_dependent
    assert (graph.receptive_field_max, graph.certainty) == ((SEEN.get(share, 18) + 2,), "exact")


@pytest.mark.parametrize(
    ("part", "reads"), [*((one, "mean") for one in NUMBERS), *(("a run", one) for one in READ)]
)
def test_all_of_so_many_units_is_as_many_at_any_size(part: str, reads: str) -> None:
    for size in (24, 72):
        graph = encode(reader(NUMBERS[part], reads), (1, 4, size))
        assert (graph.receptive_field_max, graph.certainty) == ((22,), "exact")
        assert not graph.layer_info.resolution_dependent


def in_sevens(y: torch.Tensor) -> torch.Tensor:
    """Smooth a map that is padded to whole windows, and take off what was added."""
    padded = F.pad(y, (0, -y.shape[2] % 7))
    return F.avg_pool1d(padded, 3, 1, 1)[:, :, : y.shape[2]]


RIMS: tuple[Any, ...] = (
    lambda y: y[:, :, 2:],
    lambda y: y[:, :, : y.shape[2] - 3],
    lambda y: y[:, :, : y.shape[2] // 7 * 7],
    in_sevens,
)


@pytest.mark.parametrize("reads", READ)
def test_all_but_a_rim_is_everything(reads: str) -> None:
    for size in (25, 72):
        for rim in RIMS:
            graph = encode(reader(rim, reads), (1, 4, size))
            assert (graph.receptive_field_max, graph.certainty) == ((INF,), "exact")
