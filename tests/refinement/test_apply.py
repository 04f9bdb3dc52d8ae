"""A stored refinement is applied to another instance, in another process, by one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from rfa_toolbox import create_graph_from_pytorch_model  # noqa: E402
from rfa_toolbox.empirical import verify  # noqa: E402
from rfa_toolbox.errors import RefinementError  # noqa: E402
from rfa_toolbox.refinement import (  # noqa: E402
    CutBehind,
    InsertPooling,
    Rebuild,
    Refinement,
    RemovePooling,
    Repeat,
    SetWindow,
    apply_refinement,
    predict,
    refine_model,
    refinement_of,
)
from rfa_toolbox.refinement.live.comparison import differences  # noqa: E402
from tests.refinement.published import graph_of, torchvision_model  # noqa: E402


def network(classes: int = 5) -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4),
        nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2, 2)),
        nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


def refinement(*edits: Any) -> Any:
    graph = create_graph_from_pytorch_model(network().eval(), input_res=(1, 3, 64, 64))
    return refinement_of(graph, edits, 64)


EDITS = (
    SetWindow("2.0", stride=1),
    SetWindow("0", stride=2, kernel=2),
    RemovePooling("1.2"),
    InsertPooling("2.2"),
    SetWindow("1.2", stride=1),
    CutBehind("2.2"),
    CutBehind("1.2"),
    Repeat("3", 3),
    Repeat("3", 0),
)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.words)
def test_an_edit_gives_a_model_that_computes_and_keeps_its_weights(edit: Any) -> None:
    model = network().eval()
    refined = refine_model(model, refinement(edit))
    image = torch.randn(2, 3, 64, 64)
    assert refined.model(image).shape == model(image).shape
    kept = refined.model.state_dict()
    for name, tensor in model.state_dict().items():
        layer = name.rpartition(".")[0]
        if layer not in {*refined.initialised, *refined.summed} and name in kept:
            assert torch.equal(kept[name], tensor)


def test_layers_keep_their_names_when_others_are_moved() -> None:
    moved = refinement(RemovePooling("1.2"), InsertPooling("2.2"))
    refined = apply_refinement(network(), moved)
    assert refined.state_dict().keys() == network().state_dict().keys()
    assert [type(one).__name__ for one in refined[2]][-1] == "MaxPool2d"


def test_new_weights_are_listed_in_a_warning() -> None:
    with pytest.warns(UserWarning, match="drawn at random: 6"):
        apply_refinement(network(), refinement(CutBehind("1.2")))


SCRIPT = """
import sys
from tests.refinement.test_apply import network
from rfa_toolbox.refinement import apply_refinement
model = network().train()
model = apply_refinement(model, sys.argv[1])
print(model[2][0], model[6].out_features, model.training)
"""


def test_one_line_of_another_process_applies_a_stored_refinement(tmp_path: Path) -> None:
    path = tmp_path / "refinement.json"
    refinement(SetWindow("2.0", stride=1)).save(path)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = nn.Conv2d(8, 16, 3, 1, 1)
    assert result.stdout.split("\n")[0] == f"{expected} 5 True"


def counting_open(size: int) -> Any:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 4, 3, 1, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(4, 8, 1),
    ).eval()
    return model, create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))


@pytest.mark.parametrize("encoded", [30, 32])  # no window ends behind a map of 7 units, nor 3
@pytest.mark.parametrize("input_res", [20, 21, 33, 97])
def test_windows_that_end_behind_a_map_are_predicted_at_any_size(
    encoded: int, input_res: int
) -> None:
    model, graph = counting_open(encoded)
    made = refinement_of(graph, [SetWindow("1", stride=1)], input_res)
    assert predict(refine_model(model, made).graph, input_res) == made.after


def test_another_architecture_is_refused() -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    with pytest.raises(RefinementError, match="another architecture"):
        apply_refinement(other, refinement(SetWindow("0", stride=2)))


@pytest.mark.parametrize(
    ("value", "message"),
    [({"edits": []}, "path"), (None, "path"), (3, "path")],
)
def test_what_is_no_refinement_is_refused(value: Any, message: str) -> None:
    with pytest.raises(RefinementError, match=message):
        apply_refinement(network(), value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "refinement.json"
    path.write_text(json.dumps({"format": "other"}))
    with pytest.raises(RefinementError, match="no refinement"):
        apply_refinement(network(), path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("edits", "x", "must be a list"),
        ("input_res", 3, "input_res of a refinement is 3"),
        ("encoded_res", [True, 64], "encoded_res of a refinement"),
        ("strategy", 3, "strategy of a refinement is 3"),
        ("before", {}, "A prediction of a refinement"),
        (("before", "resolution"), 5, "resolution of a refinement is 5"),
        (("after", "states"), 5, "states of a refinement are 5"),
        (("after", "states", "critical"), "x", "number of critical of a refinement is 'x'"),
        (("after", "parameters"), "many", "parameters of a refinement is 'many'"),
        (("before", "multiply_accumulates"), float("nan"), "accumulates of a refinement is nan"),
    ],
)
def test_a_refinement_with_a_wrong_value_is_refused_with_it(
    name: Any, value: Any, message: str
) -> None:
    config = json.loads(json.dumps(refinement(SetWindow("2.0", stride=1)).to_dict()))
    *outer, last = [name] if isinstance(name, str) else name
    inner = config
    for one in outer:
        inner = inner[one]
    inner[last] = value
    with pytest.raises(RefinementError, match=message):
        Refinement.from_dict(config)


def test_a_layer_that_is_called_several_times_is_refined_in_all_of_its_calls() -> None:
    shared = nn.Conv2d(3, 3, 3, 2, 1)
    model = nn.Sequential(shared, shared, nn.Conv2d(3, 3, 3)).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    refined = refine_model(model, refinement_of(graph, [SetWindow("0#2", stride=1)], 32))
    assert refined.model(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 30, 30)


@pytest.mark.parametrize("behind", ["1.0", "1.1"], ids=["inside", "behind"])
def test_a_pooling_in_or_behind_a_repeated_block_is_applied_as_predicted(behind: str) -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.ReLU())
    model = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), block, nn.Conv2d(3, 3, 3, 1, 1)).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    edits = [Repeat("1", 3), InsertPooling(behind)]
    refined = refine_model(model, refinement_of(graph, edits, 32)).model
    size = 4 if behind == "1.0" else 16
    assert refined(torch.zeros(1, 3, 32, 32)).shape == (1, 3, size, size)


def test_poolings_behind_one_layer_are_applied_in_their_order() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.ReLU()).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    edits = [InsertPooling("0", 2), InsertPooling("0", 4)]
    refined = refine_model(model, refinement_of(graph, edits, 32)).model
    assert [one.kernel_size for one in refined if isinstance(one, nn.MaxPool2d)] == [(2, 2), (4, 4)]


def test_an_image_that_is_put_into_channels_first_keeps_its_own_channels() -> None:
    model = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 8, 3), nn.Conv2d(8, 8, 3, 2))
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 64, 64))
    refined = apply_refinement(model, refinement_of(graph, [SetWindow("2", stride=1)], 64))
    assert refined[2].stride == (1, 1)


def test_hooks_of_a_user_stay_and_are_not_called() -> None:
    called: list[str] = []
    model = network()
    model[0].register_forward_hook(lambda *_: called.append("behind"))
    model[1].register_forward_pre_hook(lambda *_, **__: called.append("front"), with_kwargs=True)
    refined = refine_model(model, refinement(SetWindow("2.0", stride=1))).model
    assert called == []
    refined(torch.zeros(1, 3, 64, 64))
    assert called == ["behind", "front"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_that_cannot_be_copied_is_refused_with_the_cause() -> None:
    model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 8, 3)))
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    with pytest.raises(RefinementError, match=r"cannot be copied.*parametrizations"):
        apply_refinement(model, refinement_of(graph, [SetWindow("0", stride=2)], 32))


def test_repeated_blocks_are_those_that_the_constructor_makes(torchvision: Any) -> None:
    model = torchvision_model("resnet18")
    graph = graph_of(model, 64)
    repeats = refinement_of(graph, [Repeat("layer1.1"), Repeat("layer3.1", 4)], 64)
    rebuilt = attrs.evolve(repeats, edits=(Rebuild({"layers": [3, 2, 5, 2]}),))
    repeated, made = refine_model(model, repeats), refine_model(model, rebuilt)
    assert differences(repeated.graph, made.graph) == []
    assert [*repeated.model.state_dict()] == [*made.model.state_dict()]
    assert all(name.startswith(("layer1.2", "layer3.")) for name in repeated.initialised)


def test_a_block_in_code_is_refused_with_where_to_write_it() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 2, 1)
            self.block = nn.Conv2d(8, 8, 3, 1, 1)

        def forward(self, x: Any) -> Any:
            return self.block(self.stem(x)).mean((2, 3))

    model = Network()
    graph = create_graph_from_pytorch_model(model.eval(), input_res=(1, 3, 32, 32))
    with pytest.raises(RefinementError, match=r"no module of a Sequential.*Network\.forward"):
        refine_model(model, refinement_of(graph, [Repeat("block")], 32))


@pytest.mark.parametrize("place", [__name__, "__main__"])
def test_a_pooling_behind_a_layer_in_code_is_refused_with_the_code_that_calls_it(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as in a session

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 1, 1)

        def forward(self, x: Any) -> Any:
            return self.stem(x).relu()

    Network.__module__ = place
    model = nn.Sequential(Network(), nn.Conv2d(8, 8, 3)).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    with pytest.raises(RefinementError, match=r"in the code of Network\.forward"):
        refine_model(model, refinement_of(graph, [InsertPooling("0.stem")], 32))


def test_a_model_that_is_made_anew_is_applied_with_its_constructor(torchvision: Any) -> None:
    with torch.device("meta"):
        model = torchvision.models.efficientnet_b0().eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 224, 224))
    stages = [{}, {}, {}, {}, {"channels": 168, "blocks": 7}]
    stages.append({"channels": 320, "blocks": 1, "stride": 2})
    made = attrs.evolve(refinement_of(graph, (), 224), edits=(Rebuild({"stages": stages}),))
    refined = refine_model(model, made)
    assert sum(one.numel() for one in refined.model.parameters()) == 5_486_182
    assert len(refined.initialised) > 10


@pytest.mark.parametrize("edits", [EDITS[:1], EDITS[1:2], EDITS[2:4], EDITS[4:5], EDITS[5:6]])
def test_the_experiment_agrees_with_refined_models(edits: tuple[Any, ...]) -> None:
    refined = refine_model(network(), refinement(*edits))
    report = verify(refined.model.eval(), input_shape=(1, 3, 64, 64))
    assert report.ok
    assert report.counts["agrees"] == len(report.nodes)


@pytest.mark.parametrize(
    "head",
    [
        lambda: [nn.BatchNorm2d(16), nn.Conv2d(16, 5, 1), nn.Flatten()],
        lambda: [nn.GroupNorm(2, 16), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 5)],
        lambda: [nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 5)],
    ],
    ids=["convolution", "groups", "dense"],
)
def test_behind_a_cut_the_layers_of_the_head_read_other_features(head: Any) -> None:
    body = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU()]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), *head()).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    refined = refine_model(model, refinement_of(graph, [CutBehind("1")], 32))
    assert refined.model(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
    assert len(refined.initialised) == 2
    assert 8 in refined.model.state_dict()[f"{refined.initialised[0]}.weight"].shape


def test_no_cut_is_made_where_the_graph_does_not_tell_how_many_channels_there_are() -> None:
    class Shuffle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, 1, 1)

        def forward(self, x: Any) -> Any:
            kept, changed = x.chunk(2, 1)
            return torch.cat([kept, self.conv(changed)], 1)

    layers = nn.Conv2d(3, 16, 3), Shuffle(), nn.Conv2d(16, 16, 3)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    with pytest.raises(RefinementError, match="does not tell how many channels"):
        refinement_of(graph, [CutBehind("1/cat")], 32)
