"""The graph of an exported program is that of the module that it was made from."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from rfa_toolbox import create_graph_from_pytorch_model as encode
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.nodes import RESOLVING_STRATEGY
from rfa_toolbox.operators.rules import RULES
from rfa_toolbox.operators.vocabulary import ARGUMENTS
from tests.faults.test_masks import APART, LENGTH, MASKS, Masked, attention
from tests.pytorch.measure import signature

SHAPE = (1, 3, 32, 32)


class Block(nn.Module):
    """Layers that are called twice, in place, with buffers and a short cut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.register_buffer("scale", torch.ones(1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(self.act(x))) * self.scale) + x


class Net(nn.Module):
    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 5, 2, 2)
        self.blocks = nn.Sequential(Block(), Block())
        self.middle, self.last = middle, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.blocks(self.stem(x))))


def shifted(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, :-1]
    return y


def written(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[..., ::2].mul_(2)
    return y


def attended(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    seen = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return seen.transpose(1, 2).reshape(x.shape)


MIDDLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nothing": lambda x: x + 1,
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "halves": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "linear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "pooling": lambda x: F.max_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 4),
    "reflection": lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"),
    "blocks of channels": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "shift by writing": shifted,
    "writing through a view": written,
    "attention": attended,
    "norm of channels": lambda x: F.layer_norm(x, [4, 16, 16]),
    "constant": lambda x: x + torch.ones(1, 4, 1, 1),
}


def saved(program: torch.export.ExportedProgram, folder: Path) -> Path:
    path = folder / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return path


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=list(MIDDLES))
def test_its_graph_is_that_of_the_module_also_from_a_file(
    middle: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    model = Net(middle).eval()
    program = torch.export.export(model, (torch.rand(SHAPE),))
    expected = signature(encode(model, input_res=SHAPE))
    assert signature(encode(program)) == expected
    assert signature(encode(saved(program, tmp_path))) == expected


def seen(graph: Any) -> list[Any]:
    return [graph.receptive_field_min, graph.receptive_field_max, graph.window, graph.certainty]


TAKEN_APART = {name: MIDDLES[name] for name in ("adaptive", "attention", "shift by writing")} | {
    "norm of groups": lambda x: F.group_norm(x, 2)
}


@pytest.mark.parametrize("middle", TAKEN_APART.values(), ids=list(TAKEN_APART))
def test_a_program_of_the_operators_of_compilers_sees_what_the_module_sees(middle: Any) -> None:
    model = Net(middle).eval()
    program = torch.export.export(model, (torch.rand(SHAPE),)).run_decompositions()
    assert seen(encode(program)) == seen(encode(model, input_res=SHAPE))


def banded(triangle: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def middle(x: torch.Tensor) -> torch.Tensor:
        return triangle(x @ x.transpose(2, 3)) @ x

    return middle


def twice(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x], 1)


WAYS = {
    "gate of channels": (lambda x: F.glu(twice(x), 1), lambda x: F.glu(twice(x), dim=1)),
    "band": (
        banded(lambda x: x.tril(1).triu(-1)),
        banded(lambda x: x.tril(diagonal=1).triu(diagonal=-1)),
    ),
    "filled": (
        banded(lambda x: x.masked_fill(torch.ones(16, 16).triu(2).bool(), 0.0)),
        banded(lambda x: x.masked_fill(mask=torch.ones(16, 16).triu(2).bool(), value=0.0)),
    ),
    "half a turn": (lambda x: torch.fft.fftshift(x, 2), lambda x: torch.fft.fftshift(x, dim=2)),
    "product": (
        lambda x: torch.tensordot(x, torch.ones(16, 16), ([2], [0])),
        lambda x: torch.tensordot(x, torch.ones(16, 16), dims=([2], [0])),
    ),
}


@pytest.mark.parametrize(("by_place", "by_name"), WAYS.values(), ids=list(WAYS))
def test_arguments_by_place_mean_what_they_do_by_name(by_place: Any, by_name: Any) -> None:
    expected = signature(encode(Net(by_name).eval(), input_res=SHAPE))
    model = Net(by_place).eval()
    assert signature(encode(model, input_res=SHAPE)) == expected
    assert signature(encode(torch.export.export(model, (torch.rand(SHAPE),)))) == expected


def test_the_vocabulary_has_the_dimensions_that_rules_read() -> None:
    seen_whole = {"index_add", "index_copy", "index_reduce", "scatter_add", "scatter_reduce"}
    told = {"size", "stride"}
    for name in RULES.keys() - ARGUMENTS.keys() - seen_whole - told:
        operator = getattr(torch.ops.aten, name, None)
        for overload in () if operator is None else operator.overloads():
            names = {one.name for one in getattr(operator, overload)._schema.arguments}
            assert not names & {"dim", "dims", "diagonal"}, name


def test_sizes_that_were_left_open_are_those_of_the_example(tmp_path: Path) -> None:
    model = Net(MIDDLES["nearest"]).eval()
    height = torch.export.Dim("height", min=16, max=512)
    program = torch.export.export(
        model, (torch.rand(SHAPE),), dynamic_shapes={"x": {2: height * 2}}
    )
    expected = encode(model, input_res=SHAPE).feature_map
    assert encode(program).feature_map == expected
    assert encode(saved(program, tmp_path)).feature_map == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0"])
def test_models_of_torchvision_are_the_same_as_exported_programs(
    name: str, torchvision: Any
) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    program = torch.export.export(model, (torch.rand(1, 3, 224, 224),))
    assert signature(encode(program)) == signature(encode(model, input_res=(1, 3, 224, 224)))


def test_an_exported_program_brings_its_own_input() -> None:
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.rand(SHAPE),))
    with pytest.raises(UnsupportedModelError, match="leave input_res"):
        encode(program, input_res=(1, 3, 64, 64))


def test_programs_in_a_program_are_said_and_not_followed(tmp_path: Path) -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chosen: torch.Tensor = torch.cond(x.sum() > 0, self.a, torch.relu, (x,))
            return chosen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Either().eval(), (torch.rand(SHAPE),))
    with pytest.warns(UserWarning, match="'cond'"):
        graph = encode(program)
    assert (graph.layer_info.name, graph.certainty) == ("cond", "unknown")
    with pytest.warns(UserWarning, match="'cond'"):
        assert signature(encode(saved(program, tmp_path))) == signature(graph)


def test_a_part_in_another_type_or_without_gradients_is_followed(tmp_path: Path) -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 4, 2), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x.device.type, enabled=False):
                y = self.a(x)
            with torch.no_grad():
                z = self.b(y)
            return z + y  # type: ignore[no-any-return]

    model = Parts().eval()
    program = torch.export.export(model, (torch.rand(SHAPE),))
    expected = signature(encode(model, input_res=SHAPE))
    assert signature(encode(program)) == expected
    assert signature(encode(saved(program, tmp_path))) == expected


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (3, 3)])
def test_maxima_go_back_to_where_their_pooling_found_them(
    window: tuple[int, int], tmp_path: Path
) -> None:
    class Back(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maxima, places = F.max_pool2d(x, *window, return_indices=True)
            return F.max_unpool2d(maxima, places, *window)

    shape = (1, 3, 21, 21) if window[0] == 3 else SHAPE
    program = torch.export.export(Back(), (torch.rand(shape),))
    expected = signature(encode(Back(), input_res=shape))
    assert signature(encode(program)) == expected
    assert signature(encode(saved(program, tmp_path))) == expected


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return eval, ("__import__('sys').modules.__setitem__('trap of a pickle', 1)",)


@pytest.fixture(scope="module")
def plain_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = torch.export.export(Net(MIDDLES["pooling"]).eval(), (torch.rand(SHAPE),))
    return saved(program, tmp_path_factory.mktemp("plain"))


def changed(path: Path, folder: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """Return a copy of an archive with the content of its entries changed."""
    copy = folder / "changed.pt2"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return copy


def test_nothing_but_the_graph_of_a_file_is_read(plain_file: Path, tmp_path: Path) -> None:
    trap = pickle.dumps(Trap())
    file = changed(
        plain_file, tmp_path, lambda name, content: content if "models/" in name else trap
    )
    assert signature(encode(file)) == signature(encode(str(plain_file)))
    assert "trap of a pickle" not in sys.modules


def test_an_operator_of_a_library_that_is_not_here_is_said(
    plain_file: Path, tmp_path: Path
) -> None:
    def renamed(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.ops.aten.max_pool2d.default", b"torch.ops.acme.pool.default")

    file = changed(plain_file, tmp_path, renamed)
    with pytest.warns(UserWarning, match="'acme::pool'"):
        assert encode(file).certainty == "unknown"
    chain = RESOLVING_STRATEGY.with_rule(
        "acme::pool",
        lambda shapes, arguments: {
            "kernel_size": arguments["kernel_size"],
            "stride_size": arguments["stride"],
            "padding": 1,
        },
    )
    graph = encode(file, handlers=chain)
    assert graph.receptive_field_max == encode(plain_file).receptive_field_max


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, content: b"{}" if name.endswith("model.json") else content, "holds no"),
        (lambda name, content: b"{" if name.endswith("model.json") else content, "is damaged"),
        (lambda name, content: content.replace(b'"sizes"', b'"size"'), "not understood"),
        (lambda name, content: content.replace(b'"nodes"', b'"node"'), "not understood"),
    ],
)
def test_a_damaged_file_gives_one_clear_error(
    change: Callable[[str, bytes], bytes], message: str, plain_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        encode(changed(plain_file, tmp_path, change))


def test_other_files_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(3)}, weights)
    text = tmp_path / "model.txt"
    text.write_text(json.dumps({}))
    for path in (weights, text):
        with pytest.raises(UnsupportedModelError, match="pass the module itself"):
            encode(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pt2"):
        encode("missing.pt2")


HIDING = [
    ("given to the attention", "a band"),
    ("added", "what is in front"),
    ("filled in", "what is behind"),
    ("chosen", "a band behind"),
]


@pytest.mark.parametrize(("way", "name"), HIDING)
def test_masks_that_a_program_holds_hide_positions_also_from_a_file(
    way: str, name: str, tmp_path: Path
) -> None:
    model, shape = attention(way, MASKS[name][0]).eval(), (1, 4, LENGTH)
    program = torch.export.export(model, (torch.rand(shape),))
    (expected,) = encode(model, input_res=shape).unit_windows
    graph = encode(program)
    assert (graph.unit_windows, graph.certainty) == ((expected,), "exact")
    graph = encode(saved(program, tmp_path))
    assert (graph.unit_windows, graph.certainty) == ((expected,), "exact")


def _damaged(name: str, content: bytes) -> bytes:
    return pickle.dumps(Trap()) if name.endswith("_config.json") else content


def _cut(name: str, content: bytes) -> bytes:
    return content[:8] if name.rpartition("/")[2].startswith(("weight_", "tensor_")) else content


def _turned(name: str, content: bytes) -> bytes:
    return b"big" if name.endswith("byteorder") else content


def _larger(name: str, content: bytes) -> bytes:
    sizes = b'"as_ints": [24, 24]', b'"as_ints": [24000000, 24000000]'
    return content.replace(*sizes) if name.endswith("model.json") else content


@pytest.mark.parametrize("change", [_damaged, _cut, _turned, _larger])
def test_masks_of_a_file_whose_numbers_cannot_be_read_are_a_bound(
    change: Callable[[str, bytes], bytes], tmp_path: Path
) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.band: torch.Tensor
            self.register_buffer("band", APART.abs() <= 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = torch.ones(24, 24).tril() == 0
            y = x.transpose(1, 2)
            mask = made if change is _larger else self.band
            return F.scaled_dot_product_attention(y, y, y, attn_mask=mask)

    program = torch.export.export(Masked(), (torch.rand(1, 4, LENGTH),))
    file = changed(saved(program, tmp_path), tmp_path, change)
    assert encode(file).certainty == "bound"
    assert "trap of a pickle" not in sys.modules


@pytest.mark.parametrize("way", ["multiplied", "chosen", "made", "turned"])
def test_masked_weights_of_a_program_see_nothing_also_from_a_file(way: str, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Masked(way)).eval()
    program = torch.export.export(model, (torch.rand(1, 4, LENGTH),))
    graph = encode(program)
    assert (graph.receptive_field_max, graph.certainty) == ((5,), "exact")
    graph = encode(saved(program, tmp_path))
    assert (graph.receptive_field_max, graph.certainty) == ((5,), "exact")
