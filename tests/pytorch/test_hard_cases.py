"""Models that are written in unusual ways, and what must never go wrong with them in silence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from rfa_toolbox.errors import CaptureError, UnsupportedModelError
from tests.pytorch.measure import INF, Function, captures, encode, jit

IMAGE = (1, 3, 24, 24)


def conv(kernel: Any = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(3, 3, kernel, **options)


def frames(model: Any, x: torch.Tensor) -> torch.Tensor:
    """Convolve every frame of (batch, channels, time, height, width), then over time."""
    batch, channels, time, height, width = x.shape
    y = model.a(x.permute(0, 2, 1, 3, 4).reshape(batch * time, channels, height, width))
    y = y.view(batch, time, channels, *y.shape[-2:]).permute(0, 2, 1, 3, 4)
    return model.b(y)  # type: ignore[no-any-return]


def interleaved(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = x.new_zeros(1, 3, 48, 24)
    y[:, :, ::2] = model.a(x)
    y[:, :, 1::2] = model.b(x)
    return model.c(y)  # type: ignore[no-any-return]


def strided_write(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = x.new_zeros(1, 3, 48, 48)
    y[..., ::2, ::2] = x
    return model.c(y)  # type: ignore[no-any-return]


def copied_into(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = x.new_zeros(1, 3, 24, 24)
    y[:, :, 2:-2, 2:-2].copy_(model.c(x)[:, :, 1:-1, 1:-1])
    return model.d(y)  # type: ignore[no-any-return]


def batched(model: Any, x: torch.Tensor) -> torch.Tensor:
    """Put images onto larger ones, one by one, as detectors make a batch of them."""
    y = x.new_zeros(len(x), 3, 32, 32)
    for place in range(len(x)):
        y[place, :3, : x.shape[2], : x.shape[3]].copy_(x[place])
    return model.c(y)  # type: ignore[no-any-return]


def copied_with_gaps(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = x.new_zeros(1, 3, 48, 48)
    y[..., ::2, ::2].copy_(x)
    return model.c(y)  # type: ignore[no-any-return]


def added_with_gaps(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = x.new_zeros(1, 3, 48, 24)
    y[:, :, 1::2].add_(model.a(x))
    return model.c(y)  # type: ignore[no-any-return]


def written_through_a_view(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = model.c(x)
    view = y[:, :1]
    view.mul_(0).add_(model.d(x)[:, :1])
    return model.e(y)  # type: ignore[no-any-return]


def full_pool_gate(model: Any, x: torch.Tensor) -> torch.Tensor:
    y = model.c(x)
    return model.d(y * torch.sigmoid(functional.avg_pool2d(y, y.shape[2:])))  # type: ignore[no-any-return]


CASES: dict[str, tuple[nn.Module, tuple[int, ...], tuple[float, ...]]] = {
    "a pool over the whole map is a gate": (
        Function(full_pool_gate, c=conv(), d=conv()), IMAGE, (5, 5)
    ),
    "what pools whole columns, and is met by all of them, is global": (
        Function(lambda s, x: s.d(x + functional.avg_pool2d(x, (24, 1))), d=conv()),
        IMAGE, (INF, 3),
    ),
    "an axis that is averaged away stays an axis": (
        Function(lambda s, x: s.c(x.mean(3)), c=nn.Conv1d(3, 3, 3)), IMAGE, (3, INF)
    ),
    "an axis that becomes channels stays an axis": (
        Function(lambda s, x: s.c(x.flatten(1, 2)), c=nn.Conv1d(72, 4, 5)), IMAGE, (INF, 5)
    ),
    "an axis of which one row is taken stays an axis": (
        Function(lambda s, x: s.c(x[:, :, 5]), c=nn.Conv1d(3, 3, 3)), IMAGE, (1, 3)
    ),
    "time that was folded into the batch stays an axis": (
        Function(frames, a=conv(), b=nn.Conv3d(3, 3, (3, 1, 1))), (1, 3, 6, 12, 12), (3, 3, 3)
    ),
    "time in front of the channels is an axis": (
        Function(lambda s, x: s.a(x.flatten(0, 1)).view(1, 6, 3, 10, 10).mean(1), a=conv()),
        (1, 6, 3, 12, 12), (INF, 3, 3),
    ),
    "a mean over a crop sees the crop": (
        Function(lambda s, x: x[:, :, :12, :10].mean((2, 3))), IMAGE, (12, 10)
    ),
    "a mean over a part sees the part": (
        Function(lambda s, x: s.c(x).chunk(4, 2)[0].mean((2, 3)), c=conv(padding=1)),
        IMAGE, (8, INF),
    ),
    "a dense layer behind the mean of a part sees the part": (
        Function(lambda s, x: s.l(x[:, :, :12].mean((2, 3))), l=nn.Linear(3, 2)),
        IMAGE, (12, INF),
    ),
    "a dense layer behind a mean over time sees one row": (
        Function(lambda s, x: s.l(s.c(x)[:, :, 5].mean(-1)), c=conv(), l=nn.Linear(3, 2)),
        IMAGE, (3, INF),
    ),
    "a dense layer behind means in turn sees everything": (
        Function(lambda s, x: s.l(x.mean(2).mean(2)), l=nn.Linear(3, 2)), IMAGE, (INF, INF)
    ),
    "a pool of another map is no gate": (
        Function(
            lambda s, x: s.a(x) * s.b(s.a(x)).mean((2, 3), keepdim=True), a=conv(), b=conv()
        ),
        IMAGE, (INF, INF),
    ),
    "two maps are written in turns": (
        Function(interleaved, a=conv(padding=1), b=conv(padding=1), c=conv()), IMAGE, (4, 5)
    ),
    "a map is written with gaps": (Function(strided_write, c=conv()), IMAGE, (2, 2)),
    "a map is copied with gaps": (Function(copied_with_gaps, c=conv()), IMAGE, (2, 2)),
    "a map is added to nothing with gaps": (
        Function(added_with_gaps, a=conv(padding=1), c=conv()),
        IMAGE,
        (4, 5),
    ),
    "a map is copied into the middle": (Function(copied_into, c=conv(), d=conv()), IMAGE, (5, 5)),
    "images are copied onto larger ones": (Function(batched, c=conv()), IMAGE, (3, 3)),
    "a map is written through a view": (
        Function(written_through_a_view, c=conv(padding=1), d=conv(9, padding=4), e=conv(1)),
        IMAGE, (9, 9),
    ),
    "neighbours are subtracted": (Function(lambda s, x: torch.diff(x, dim=2)), IMAGE, (2, 1)),
}  # fmt: skip


@captures
@pytest.mark.parametrize("case", CASES)
def test_what_the_model_does_is_followed(case: str, capture: str) -> None:
    model, shape, expected = CASES[case]
    graph = encode(model.eval(), shape, capture)
    assert graph.receptive_field_max == expected
    assert graph.certainty == "exact"


@captures
def test_an_input_that_is_also_an_output_is_a_node(capture: str) -> None:
    graph = encode(Function(lambda s, x: [x, s.c(x)], c=conv()), IMAGE, capture)
    assert graph.name == "input"
    assert [node.name for node in graph.all_layers] == ["input", "c"]


@captures
def test_a_pooled_map_that_leaves_the_model_is_no_mere_gate(capture: str) -> None:
    def forward(model: Any, x: torch.Tensor) -> Any:
        pooled = model.a(x).mean((2, 3), keepdim=True)
        return model.a(x) * pooled.sigmoid(), pooled

    graph = encode(Function(forward, a=conv()), IMAGE, capture)
    assert "mean" in [node.name for node in graph.all_layers]


class WithScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = conv(padding=1)
        self.scripted = torch.jit.script(nn.Sequential(conv(5, padding=2)))

    def forward(self, x: torch.Tensor) -> Any:
        return self.a(x) + self.scripted(x)


def test_a_torchscript_module_inside_is_an_unknown_layer() -> None:
    with pytest.warns(UserWarning, match="TorchScript"):
        graph = encode(WithScript().eval(), IMAGE, "meta")
    assert graph.certainty == "unknown"
    assert len(graph.predecessors) == 2


def test_what_is_computed_out_of_sight_is_no_constant() -> None:
    model = Function(
        lambda s, x: s.a(x) + torch.vmap(lambda one: s.b(one[None])[0])(x),
        a=conv(padding=1), b=conv(5, padding=2),
    ).eval()  # fmt: skip
    with pytest.raises(CaptureError, match=r"cannot be followed.*test_hard_cases.py"):
        encode(model, IMAGE, "meta")


@pytest.mark.parametrize("capture", [jit])
def test_the_tracer_follows_what_the_other_capture_cannot(capture: str) -> None:
    model = Function(
        lambda s, x: s.a(x) + torch.vmap(lambda one: s.b(one[None])[0])(x),
        a=conv(padding=1), b=conv(5, padding=2),
    ).eval()  # fmt: skip
    assert encode(model, IMAGE, capture).receptive_field_max == (5, 5)
    with pytest.warns(UserWarning, match="traced with real ones instead"):
        assert encode(model, IMAGE).receptive_field_max == (5, 5)


def test_a_model_of_keras_is_sent_to_its_own_encoder() -> None:
    foreign = type("Functional", (nn.Module,), {"__module__": "keras.src.models.functional"})
    with pytest.raises(UnsupportedModelError, match="create_graph_from_tensorflow_model"):
        encode(foreign(), IMAGE)


def test_custom_layers_can_be_classes() -> None:
    class Block(nn.Sequential):
        pass

    model = nn.Sequential(conv(), Block(conv(), nn.Upsample(scale_factor=2)), conv())
    graph = encode(model, IMAGE, custom_layers=[Block])
    assert [node.name for node in graph.all_layers] == ["0", "1", "2"]
    assert graph.receptive_field_max == encode(model, IMAGE).receptive_field_max
