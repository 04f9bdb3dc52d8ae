"""Maps that were computed one by one, and put side by side, are one map again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import verify
from rfa_toolbox.unit_windows import region_of
from tests.faults.influence import seen_by_differences
from tests.pytorch.measure import INF, Function, captures, encode, measured_extent


def steps(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([x[:, :, t].relu() for t in range(x.shape[2])], 2))


def every_other(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([x[:, :, t].relu() for t in range(0, x.shape[2], 2)], 2))


def concatenated(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.cat([x[:, :, t : t + 1].relu() for t in range(x.shape[2])], 2))


def dense(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.stack([s.d(one) for one in x.transpose(1, 2).unbind(1)], 1)
    return s.c(y.transpose(1, 2))


def chunks(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.cat([one.relu() * 2 for one in x.chunk(4, 2)], 2))


def written(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    for t in range(x.shape[2]):
        y[:, :, t] = x[:, :, t].relu()
    return s.c(y)


def frames(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([s.f(x[:, :, t]) for t in range(x.shape[2])], 2))


def of_frames(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([s.f(one) for one in x.unbind(2)], dim=2))


def strided_frames(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([s.g(s.f(one)) for one in x.unbind(2)], dim=2))


def conv1d() -> nn.Module:
    return nn.Conv1d(4, 4, 3, padding=1)


def volume() -> dict[str, nn.Module]:
    return {
        "f": nn.Conv2d(4, 4, 3, padding=1),
        "g": nn.Conv2d(4, 4, 2, 2),
        "c": nn.Conv3d(4, 4, 3, padding=1),
    }


SIGNAL, CLIP = (1, 4, 12), (1, 4, 6, 12, 12)
EXACT: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "stacked": (steps, SIGNAL, (3,), (12,)),
    "every other": (every_other, SIGNAL, (5,), (6,)),
    "concatenated": (concatenated, SIGNAL, (3,), (12,)),
    "through a dense layer": (dense, SIGNAL, (3,), (12,)),
    "chunks": (chunks, SIGNAL, (3,), (12,)),
    "written one by one": (written, SIGNAL, (3,), (12,)),
    "frames": (frames, CLIP, (3, 5, 5), (6, 12, 12)),
    "unbound frames": (of_frames, CLIP, (3, 5, 5), (6, 12, 12)),
    "strided frames": (strided_frames, CLIP, (3, 8, 8), (6, 6, 6)),
}


def model(function: Any, shape: tuple[int, ...]) -> nn.Module:
    members = volume() if len(shape) == 5 else {"c": conv1d(), "d": nn.Linear(4, 4)}
    return Function(function, **members)


@pytest.mark.parametrize("name", EXACT)
def test_steps_put_side_by_side_are_a_map(name: str) -> None:
    function, shape, field, units = EXACT[name]
    graph = encode(model(function, shape), shape)
    assert (graph.receptive_field_max, graph.feature_map) == (field, units)
    assert graph.certainty == "exact"
    assert graph.window is not None
    assert graph.window.size == field


@pytest.mark.parametrize("name", EXACT)
def test_an_experiment_sees_the_same(name: str) -> None:
    function, shape, field, _ = EXACT[name]
    assert measured_extent(model(function, shape), shape, range(2, len(shape))) == field


@pytest.mark.parametrize("name", ["stacked", "written one by one"])
def test_verify_contradicts_nothing(name: str) -> None:
    function, shape, _, _ = EXACT[name]
    assert not verify(model(function, shape), shape).disagreements


def loop(s: Any, x: torch.Tensor) -> torch.Tensor:
    state, found = torch.zeros_like(x[:, :, 0]), []
    for t in range(x.shape[2]):
        state = torch.tanh(s.d(x[:, :, t]) + s.e(state))
        found.append(state)
    return torch.stack(found, 2)


def backwards(s: Any, x: torch.Tensor) -> torch.Tensor:
    state, found = torch.zeros_like(x[:, :, 0]), []
    for t in reversed(range(x.shape[2])):
        state = torch.tanh(s.d(x[:, :, t]) + s.e(state))
        found.append(state)
    return torch.stack(found[::-1], 2)


@pytest.mark.parametrize(("function", "look_ahead"), [(loop, 0), (backwards, 5)])
def test_a_recurrent_loop_sees_one_side(function: Any, look_ahead: int) -> None:
    recurrent = Function(function, d=nn.Linear(4, 4), e=nn.Linear(4, 4))
    graph = encode(recurrent, (1, 4, 6))
    assert graph.feature_map == (6,)
    region = graph.input_region((3,))[0]
    assert region[1] - 3 == min(look_ahead, 5)


def reversed_steps(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([x[:, :, t].relu() for t in range(x.shape[2])][::-1], 2))


def shuffled_steps(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.stack([x[:, :, 5 * t % 12].relu() for t in range(12)], 2))


@pytest.mark.parametrize("function", [reversed_steps, shuffled_steps])
def test_steps_in_another_order_are_no_exact_map(function: Any) -> None:
    graph = encode(model(function, SIGNAL), SIGNAL)
    assert graph.certainty != "exact"


def coordinates(s: Any, x: torch.Tensor) -> torch.Tensor:
    """A gate of means over rows and over columns, which one layer reads one behind the other."""
    rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT
    high, wide = s.b(torch.cat([rows, columns], 2)).split(x.shape[2:], 2)
    return x * high.sigmoid() * wide.mT.sigmoid()  # type: ignore[no-any-return]


def test_places_along_one_axis_behind_those_along_another_are_a_bound() -> None:
    model = Function(
        lambda s, x: coordinates(s, s.a(x)), a=nn.Conv2d(2, 2, 3), b=nn.Conv2d(2, 2, 1)
    )
    graph = encode(model, (1, 2, 12, 9))
    (both,) = (one for one in graph.all_layers if one.layer_info.name == "cat")
    assert (both.receptive_field_max, both.certainty) == ((INF, INF), "bound")
    assert verify(model, (1, 2, 12, 9), max_length=64).ok


TAKEN: dict[str, Any] = {
    "split and squeezed": lambda x: [one.squeeze(2) for one in x.split(1, 2)],
    "chunked and viewed": lambda x: [one.reshape(1, 4) for one in x.chunk(x.shape[2], 2)],
    "sliced and squeezed": lambda x: [x[:, :, t : t + 1].squeeze(-1) for t in range(x.shape[2])],
    "narrowed and flattened": lambda x: [x.narrow(2, t, 1).flatten(1) for t in range(x.shape[2])],
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_place_that_loses_its_dimension_keeps_where_it_was(name: str) -> None:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        return s.c(torch.stack([s.d(one) for one in TAKEN[name](x)], 2))  # type: ignore[no-any-return]

    graph = encode(Function(function, d=nn.Linear(4, 4), c=conv1d()), SIGNAL)
    assert (graph.receptive_field_max, graph.certainty) == ((3,), "exact")
    assert graph.feature_map == (12,)
    assert graph.input_region((5,)) == ((4, 6),)


def at(t: int) -> torch.Tensor:
    return torch.tensor([t])


PICKED: dict[str, Any] = {
    "selected": lambda x, t: x.index_select(2, at(t)).squeeze(2),
    "gathered": lambda x, t: x.gather(2, torch.full((1, 4, 1), t))[:, :, 0],
    "indexed": lambda x, t: x[:, :, at(t)].flatten(1),
}
TOGETHER: dict[str, Any] = {
    "stacked": lambda s, steps: s.c(torch.stack(steps, 2)),
    "summed": lambda s, steps: steps[0] + steps[-1],
    "in channels": lambda s, steps: s.d(torch.cat(steps, 1)),
}


@pytest.mark.parametrize("how", TOGETHER)
@pytest.mark.parametrize("picked", PICKED)
def test_places_that_are_picked_count_for_no_less_than_what_they_see(picked: str, how: str) -> None:
    pick, together = PICKED[picked], TOGETHER[how]
    model = Function(
        lambda s, x: together(s, [pick(x, t) for t in range(8)]), c=conv1d(), d=nn.Linear(32, 4)
    )
    assert encode(model, (1, 4, 8)).receptive_field_max >= measured_extent(model, (1, 4, 8), [2])


def test_steps_in_channels_that_are_viewed_apart_make_a_bound() -> None:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([s.d(x[:, :, t]) for t in range(16)], 1).relu()
        return s.c(y.view(1, 16, 4).transpose(1, 2))

    model = Function(function, c=conv1d(), d=nn.Linear(4, 4))
    graph = encode(model, (1, 4, 16))
    assert graph.certainty == "bound"
    assert graph.receptive_field_max >= measured_extent(model, (1, 4, 16), [2]) == (3,)


@pytest.mark.parametrize(
    "gone",
    [
        lambda y: y.squeeze(2),
        lambda y: y.flatten(1),
        lambda y: y.view(1, 4),
        lambda y: y[..., 0],
        lambda y: y.mean(2),
        lambda y: y.amax(-1, keepdim=True)[..., 0],
    ],
    ids=["squeezed", "flattened", "viewed", "selected", "averaged", "reduced"],
)
def test_a_place_that_was_worked_on_keeps_where_it_was(gone: Any) -> None:
    model = Function(
        lambda s, x: s.c(torch.stack([gone(x[:, :, t : t + 1].relu()) for t in range(8)], 2)),
        c=conv1d(),
    )
    graph = encode(model, (1, 4, 8))
    assert (graph.receptive_field_max, graph.certainty) == ((3,), "exact")
    assert measured_extent(model, (1, 4, 8), [2]) == (3,)


INDEXED: dict[str, Any] = {
    "along the map": lambda y: y[:, :, torch.arange(6)].mean(2, keepdim=True),
    "by two dimensions": lambda y: y[:, :, torch.tensor([[0, 7], [3, 4]])].mean(3),
    "after an ellipsis": lambda y: y[..., torch.tensor([0, 7])].amax(-1, keepdim=True),
    "with channels": lambda y: (
        y[:, torch.tensor([0, 1]), torch.tensor([0, 7])].mean(1).view(1, 1, 1)
    ),
    "moved to the front": lambda y: y[torch.tensor([0, 0]), :, torch.tensor([0, 7])].mean(0)[None],
}


@pytest.mark.parametrize("name", INDEXED)
def test_what_mixes_picked_places_sees_no_less_than_all_of_them(name: str) -> None:
    model = Function(lambda s, x: INDEXED[name](s.c(x)), c=conv1d())
    graph = encode(model, (1, 4, 8))
    assert graph.receptive_field_max >= measured_extent(model, (1, 4, 8), [2])
    assert graph.certainty == "bound"


WAYS_TO_A_PART: dict[str, Any] = {
    "transposed": lambda y: y.mT.mT[:, :4],
    "moved": lambda y: y.movedim(1, 2).movedim(2, 1)[:, 4:],
    "viewed apart": lambda y: y.view(1, 2, 4, 24)[:, 1],
    "viewed apart and permuted": lambda y: y.view(1, 2, 4, 24).permute(1, 0, 2, 3)[0],
    "taken apart": lambda y: y.unflatten(1, (2, 4)).unbind(1)[0],
    "viewed apart and together": lambda y: y.view(1, 2, 4, 24).relu().view(1, 8, 24)[:, :4],
    "with a dimension more": lambda y: y.unsqueeze(1)[:, 0, :4],
    "one of a batch": lambda y: y[0][None, :4],
}


@captures
@pytest.mark.parametrize("way", WAYS_TO_A_PART)
def test_a_part_of_a_concatenation_is_a_bound_however_it_is_taken(way: str, capture: str) -> None:
    take = WAYS_TO_A_PART[way]
    model = Function(
        lambda s, x: s.c(take(torch.cat([s.a(x), s.b(x)], 1))),
        a=nn.Conv1d(2, 4, 3, padding=1), b=nn.Conv1d(2, 4, 7, padding=3), c=nn.Conv1d(4, 2, 3),
    )  # fmt: skip
    graph = encode(model, (1, 2, 24), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((9,), "bound")


@captures
@pytest.mark.parametrize("turned", [False, True])
def test_one_direction_of_a_recurrent_layer_is_no_more_than_a_bound(
    turned: bool, capture: str
) -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.r(x.mT)[0]
        return s.c(y.mT[:, :3] if turned else y.view(1, 12, 2, 3)[:, :, 1].mT)

    model = Function(
        forward, r=nn.GRU(2, 3, batch_first=True, bidirectional=True), c=nn.Conv1d(3, 2, 3)
    )
    assert encode(model, (1, 2, 12), capture).certainty == "bound"


def test_a_channel_shuffle_behind_a_concatenation_leaves_it_exact() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        shuffled = torch.cat([s.a(x), s.b(x)], 1).view(1, 2, 4, 24).transpose(1, 2)
        return s.c(shuffled.reshape(1, 8, 24)[:, :4])

    model = Function(
        forward,
        a=nn.Conv1d(2, 4, 3, padding=1), b=nn.Conv1d(2, 4, 7, padding=3), c=nn.Conv1d(4, 2, 3),
    )  # fmt: skip
    graph = encode(model, (1, 2, 24))
    assert (graph.receptive_field_max, graph.certainty) == ((9,), "exact")


FRAMES: dict[str, tuple[Any, int]] = {
    "unfolded": (lambda x: x.unfold(2, 4, 2).mean(-1), 8),
    "stacked": (lambda x: torch.stack([x[..., t : t + 4] for t in range(0, 21, 2)], 2).mean(3), 8),
    "stacked behind": (
        lambda x: torch.stack([x[..., t : t + 4] for t in range(2, 21, 2)], 3).amax(2), 8
    ),
    "with gaps": (
        lambda x: torch.cat([x[:, :, None, t : t + 2] for t in range(0, 22, 3)], 2).mean(3), 8
    ),
    "the largest ones": (lambda x: x.unfold(2, 4, 2).topk(2, -1)[0].mean(-1), 8),
    "the largest ones of blocks": (lambda x: x.view(1, 2, 6, 4).topk(2, -1)[0].mean(-1), 12),
    "two moved copies": (lambda x: torch.stack([x[..., :-1], x[..., 1:]], 2).mean(2), 4),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_are_put_side_by_side_slide_as_windows_do(name: str) -> None:
    frame, size = FRAMES[name]
    model = Function(lambda s, x: s.c(frame(x)), c=nn.Conv1d(2, 2, 3))
    graph = encode(model, (1, 2, 24))
    assert (graph.receptive_field_max, graph.certainty) == ((size,), "exact")
    (windows,) = graph.unit_windows
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 2, 24))):
        begin, end = region_of(windows, unit)
        assert begin <= first <= last <= end


PARTS: dict[str, Any] = {
    "pooled": lambda s, x: torch.stack([x[..., t : t + 4].mean(2) for t in range(0, 21, 2)], 2),
    "pooled, uneven": lambda s, x: torch.stack([p.amax(2) for p in x.split([4, 12, 8], 2)], 2),
    "pooled with their axis": lambda s, x: torch.cat(
        [x[..., t : t + 4].mean(2, keepdim=True) for t in range(0, 21, 2)], 2
    ),
    "worked on": lambda s, x: torch.stack(
        [s.a(x[..., t : t + 4]) for t in range(0, 21, 2)], 2
    ).mean(3),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_map_side_by_side_are_a_bound_that_is_not_too_small(name: str) -> None:
    model = Function(
        lambda s, x: s.c(PARTS[name](s, x)), a=nn.Conv1d(2, 2, 1), c=nn.Conv1d(2, 2, 3)
    )
    graph = encode(model, (1, 2, 24))
    assert graph.certainty == "bound"
    widest = max(last - first + 1 for first, last in seen_by_differences(model, (1, 2, 24)))
    assert graph.receptive_field_max >= (widest,)


def test_what_a_part_of_a_map_is_pooled_to_sees_that_part() -> None:
    graph = encode(
        Function(lambda s, x: torch.cat([x[..., 4:9].mean(2), x[..., 12:].mean(2)], 1)), (1, 2, 24)
    )
    means = [node.unit_windows[0] for node in graph.all_layers if node.layer_info.name == "mean"]
    assert [region_of(one, 0) for one in means] == [(4, 8), (12, 23)]
    assert graph.receptive_field_max == (20,)
