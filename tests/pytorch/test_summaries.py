"""What is said of models that everybody knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rfa_toolbox import EnrichedNetworkNode, create_graph_from_pytorch_model, summarize
from rfa_toolbox.architectures import resnet18, vgg16

DENSE = "features.denseblock4.denselayer1"
GOLDEN = {
    "resnet18 at 32": (
        "7 of 20 convolutions cannot help at 32 px, from layer3.0.conv2 on.",
        "Good from 139 to 435 px.",
        ("layer3.0.conv2", 7, 0.82, 0.35),
    ),
    "vgg16 at 32": (
        "7 of 13 convolutions and 3 of 5 poolings cannot help at 32 px, from features.14 on.",
        "Good at 212 px.",
        ("features.12", 10, 0.1, 0.37),
    ),
    "resnet50 at 64": (
        "4 of 53 convolutions cannot help at 64 px, from layer4.1.conv2 on.",
        "Good from 128 to 427 px.",
        None,
    ),
    "densenet121 at 64": (
        f"16 of 120 convolutions cannot help at 64 px, from {DENSE}.conv2 on.",
        "Good from 128 to 2,071 px.",
        None,
    ),
}


def read_model(torchvision: Any, name: str) -> EnrichedNetworkNode:
    with torch.device("meta"):  # no time for weights that nobody looks at
        model = getattr(torchvision.models, name)()
    return create_graph_from_pytorch_model(model)


@pytest.mark.parametrize("case", GOLDEN)
def test_headline_good_resolutions_and_cut_of_published_models(torchvision: Any, case: str) -> None:
    name, _, resolution = case.split()
    headline, good, cut = GOLDEN[case]
    graph = read_model(torchvision, name)
    found = summarize(graph, int(resolution))
    assert found.headline == headline
    assert found.good == good
    if cut is None:
        assert found.cut is None
        return
    behind, layers, parameters, work = cut
    assert found.cut is not None
    assert found.cut.text == (
        f"Put the head behind {behind} and leave out the last {layers} layers: that saves "
        f"{parameters:.0%} of the parameters and {work:.0%} of the multiply-accumulates."
    )


@pytest.mark.parametrize("made_by_hand", [resnet18, vgg16])
def test_a_network_made_by_hand_has_the_counts_of_the_same_model(
    torchvision: Any, made_by_hand: Any
) -> None:
    graph = read_model(torchvision, made_by_hand.__name__)
    for resolution in (16, 32, 64, 224):
        read, made = summarize(graph, resolution), summarize(made_by_hand(), resolution)
        assert len(read.counted) == len(made.counted)
        for state in ("unproductive", "critical", "productive"):
            assert len(read.blocks_in(state)) == len(made.blocks_in(state))
        assert read.good == made.good
