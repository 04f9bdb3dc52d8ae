"""A refinement of a live PyTorch model does what the same change written by hand does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from rfa_toolbox.encodings.pytorch.ingest_architecture import create_graph_from_model  # noqa: E402
from rfa_toolbox.errors import RefinementError  # noqa: E402
from rfa_toolbox.graphs import EnrichedNetworkNode  # noqa: E402
from rfa_toolbox.refinement.live.application import RefinedModel, as_predicted  # noqa: E402
from rfa_toolbox.refinement.live.constructors import rebuilt  # noqa: E402

SHAPE = (1, 3, 64, 64)


class Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1)
        self.shortcut = nn.Sequential(nn.AvgPool2d(stride, stride), nn.Conv2d(channels, out, 1))

    def forward(self, x: Any) -> Any:
        return torch.relu(self.conv2(torch.relu(self.norm(self.conv1(x)))) + self.shortcut(x))


class Small(nn.Module):
    """A stem of patches, a pooling outside of any Sequential, two stages and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.features = nn.Sequential(Residual(8, 12, 1), nn.ReLU(), Residual(12, 16, 2))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(self.pool(self.stem(x))).mean((2, 3)))


def graph_of(model: nn.Module) -> EnrichedNetworkNode:
    return create_graph_from_model(copy.deepcopy(model).eval(), input_res=SHAPE)


def like(model: nn.Module, by_hand: Callable[[Any], None]) -> tuple[RefinedModel, Any]:
    """Return a model that was refined to what another copy is that was changed by hand."""
    other = copy.deepcopy(model)
    by_hand(other)
    return as_predicted(model, lambda _: graph_of(other), SHAPE), other


def less_downsampling(model: Any) -> None:
    model.features[2].conv1.stride = (1, 1)
    model.features[2].shortcut[0].kernel_size = model.features[2].shortcut[0].stride = 1


def without_pooling(model: Any) -> None:
    model.pool = nn.Identity()


def smaller_patches(model: Any) -> None:
    model.stem = nn.Conv2d(3, 8, 2, 2)


def other_stem(model: Any) -> None:
    model.stem = nn.Conv2d(3, 8, 6, 4, 1)


@pytest.mark.parametrize(
    "by_hand", [less_downsampling, without_pooling, smaller_patches, other_stem]
)
def test_a_model_is_changed_to_what_the_same_change_by_hand_gives(
    by_hand: Callable[[Any], None],
) -> None:
    refined, other = like(Small(), by_hand)
    assert str(refined.model) == str(other)
    assert refined.graph.feature_map == graph_of(other).feature_map


def test_the_original_stays_as_it_is() -> None:
    model = Small().train()
    model.features[0].eval()
    calls: list[int] = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    before = {name: (one.clone(), id(one)) for name, one in model.state_dict().items()}
    text, modes = str(model), [one.training for one in model.modules()]
    state = torch.get_rng_state()
    refined, _ = like(model, less_downsampling)
    assert str(model) == text
    assert [one.training for one in model.modules()] == modes
    assert [one.training for one in refined.model.modules()] == modes
    assert len(model.stem._forward_hooks) == 1
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name][0])
    shared = {one.data_ptr() for one in model.parameters()}
    assert shared.isdisjoint(one.data_ptr() for one in refined.model.parameters())


def test_weights_stay_where_shapes_allow_and_the_others_are_listed() -> None:
    model = Small()
    refined, _ = like(model, other_stem)
    assert refined.initialised == ("stem",)
    kept = refined.model.state_dict()
    for name, tensor in model.state_dict().items():
        if name != "stem.weight":
            assert torch.equal(kept[name], tensor)


def test_a_smaller_patch_computes_what_the_original_does_on_the_image_twice_as_large() -> None:
    model = Small().eval()
    refined, _ = like(model, smaller_patches)
    assert refined.summed == ("stem",)
    assert refined.initialised == ()
    image = torch.randn(2, 3, 32, 48)
    larger = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(refined.model(image), model(larger), rtol=1e-5, atol=1e-5)


class PoolInCode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1)

    def forward(self, x: Any) -> Any:
        return nn.functional.max_pool2d(self.conv(x), kernel_size=2, stride=2)


def test_a_stride_in_code_is_refused_with_the_layer_and_what_to_write() -> None:
    class Without(PoolInCode):
        def forward(self, x: Any) -> Any:
            return nn.functional.max_pool2d(self.conv(x), kernel_size=1, stride=1)

    with pytest.raises(RefinementError, match=r"max_pool2d.*PoolInCode\.forward.*MaxPool2d"):
        as_predicted(PoolInCode(), lambda _: graph_of(Without()), SHAPE)


def test_a_dense_layer_that_is_predicted_to_read_more_gets_new_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 32 * 32, 7))
    other = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.Flatten(), nn.Linear(4 * 64 * 64, 7))
    refined = as_predicted(model, lambda _: graph_of(other), SHAPE)
    assert refined.initialised == ("2",)
    assert refined.model[2].in_features == 4 * 64 * 64


def test_what_a_model_does_otherwise_than_predicted_is_never_returned() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            return x[..., ::2, ::2] if x.shape[-1] > 32 else x

    class Willing(Stubborn):
        def forward(self, x: Any) -> Any:
            return self.conv(x)

    willing = Willing()
    willing.conv.stride = (1, 1)
    with pytest.raises(RefinementError, match=r"otherwise than predicted.*slice"):
        as_predicted(Stubborn(), lambda _: graph_of(willing), SHAPE)


def test_no_model_is_an_error_that_says_what_is_expected() -> None:
    with pytest.raises(ValueError, match=r"'resnet18'.*torch\.nn\.Module.*Keras"):
        as_predicted("resnet18", lambda graph: graph)


class TestConstructors:
    def test_a_model_is_made_anew_with_other_blocks_and_keeps_what_fits(
        self, torchvision: Any
    ) -> None:
        with torch.device("meta"):
            model = torchvision.models.resnet18()
        new, weights = rebuilt(model, {"layers": [3, 3, 2, 1]})
        assert [len(one) for one in (new.layer1, new.layer2, new.layer3, new.layer4)] == [
            3,
            3,
            2,
            1,
        ]
        assert {one.rpartition(".")[0] for one in weights.initialised} == {
            "layer1.2",
            "layer2.2",
        }

    def test_without_other_numbers_the_model_is_the_same(self, torchvision: Any) -> None:
        with torch.device("meta"):
            model = torchvision.models.efficientnet_b1()
        new, weights = rebuilt(model, {"stages": [{}] * 7})
        assert str(new) == str(model)
        assert weights.initialised == []

    def test_arguments_that_are_no_numbers_are_refused(self, torchvision: Any) -> None:
        timm = pytest.importorskip("timm")
        with torch.device("meta"):
            model = timm.create_model("convnext_atto")
        for wrong in ({"checkpoint_path": "weights.pt"}, {"pretrained": True}, {"depths": "all"}):
            with pytest.raises(RefinementError, match="numbers"):
                rebuilt(model, wrong)

    def test_a_model_of_unknown_constructor_is_refused(self) -> None:
        with pytest.raises(RefinementError, match="nothing is known of its constructor"):
            rebuilt(Small(), {"layers": [1, 1, 1, 1]})
