"""Published refinements that take more than edits of a graph: a constructor, or another size."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rfa_toolbox import create_graph_from_tensorflow_model, input_resolution_range
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import SetWindow, edit
from rfa_toolbox.refinement.live.constructors import rebuilt
from tests.frameworks import keras_application
from tests.refinement.published import (
    compute_as_published,
    graph_of,
    parameters_of,
    torchvision_model,
)

# Number of the model, factors of its widths and blocks, its size; stride of stage 6, and then the
# smallest feasible resolution, the compute in G and the parameters in M that have to come out.
SHORTER_AND_WIDER = [
    (0, 1.0, 1.0, 224, 2, 171, 0.728, 5.486),
    (0, 1.0, 1.0, 224, 1, None, 0.842, 5.486),
    (1, 1.0, 1.1, 240, 1, 235, 1.43, 7.680),
    (2, 1.1, 1.2, 260, 1, 235, 2.27, 9.626),
    (3, 1.2, 1.4, 300, 1, 235, 3.72, 12.016),
    (4, 1.4, 1.8, 380, 1, 235, 9.27, 18.657),
    (5, 1.6, 2.2, 456, 1, 235, 23.1, 31.508),
    (6, 1.8, 2.6, 224, 1, 235, None, None),
    (7, 2.0, 3.1, 224, 1, 235, None, None),
]


def _divisible(channels: float) -> int:
    """Return a number of channels as EfficientNet rounds it: to a multiple of 8, not far below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


@pytest.mark.parametrize(
    ("number", "wide", "deep", "size", "stride", "resolution", "compute", "parameters"),
    [
        pytest.param(*one, marks=[pytest.mark.slow] if one[0] > 1 else [])
        for one in SHORTER_AND_WIDER
    ],
)
def test_a_shorter_and_wider_efficientnet_has_the_published_numbers(
    number: int,
    wide: float,
    deep: float,
    size: int,
    stride: int,
    resolution: int | None,
    compute: float | None,
    parameters: float | None,
    torchvision: Any,
) -> None:
    stages: list[dict[str, int]] = [
        *[{}] * 4,
        {"channels": _divisible(165 * wide), "blocks": math.ceil(7 * deep)},
        {"channels": _divisible(320 * wide), "blocks": math.ceil(deep), "stride": stride},
    ]
    model, _ = rebuilt(torchvision_model(f"efficientnet_b{number}"), {"stages": stages})
    graph = graph_of(model.eval(), size)
    if resolution is not None:
        assert input_resolution_range(graph)[0] == (resolution, resolution)
    if compute is not None:
        assert compute_as_published(graph) == pytest.approx(compute, rel=0.01)
    if parameters is not None:
        assert parameters_of(graph) == pytest.approx(parameters, rel=0.01)


STEM_OF_NASNET = SetWindow("stem_conv1", stride=1)
"""It is not padded: with stride 1 the maps of its branches differ at some sizes."""


def _nasnet(size: int) -> EnrichedNetworkNode:
    pytest.importorskip("keras")
    model = keras_application("NASNetMobile", input_shape=(size, size, 3))
    return create_graph_from_tensorflow_model(model)


@pytest.mark.slow
def test_the_stem_of_nasnet_is_refused_where_its_branches_do_not_meet() -> None:
    with pytest.raises(RefinementError, match=r"would read .*(55.*56|56.*55)"):
        edit(_nasnet(224), [STEM_OF_NASNET])


@pytest.mark.slow
def test_the_stem_of_nasnet_gives_the_published_resolutions_where_they_meet() -> None:
    graph = _nasnet(226)
    refined = edit(graph, [STEM_OF_NASNET])
    assert input_resolution_range(graph)[0] == (327, 327)
    assert input_resolution_range(refined)[0] == (165, 165)
    assert parameters_of(refined) == pytest.approx(5.290, rel=0.01)
    # 2.35 G were published at 224 px.
    assert compute_as_published(refined) == pytest.approx(2.35, rel=0.025)
