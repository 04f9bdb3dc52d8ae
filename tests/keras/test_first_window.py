"""Which dimensions of the input are those of the image: all but what is taken for channels."""

from __future__ import annotations

import math
from typing import Any

import pytest

INF = math.inf
FIRST = {"data_format": "channels_first"}
DEPTHWISE = ("DepthwiseConv2D", {"kernel_size": [3, 3]})
SPLIT = [("Reshape", {"target_shape": [16, 64]}), ("Conv1D", {"kernel_size": [3]})]

CASES: dict[str, Any] = {
    "depthwise": ((8, 8, 3), [DEPTHWISE], (3, 3)),
    "depthwise with one channel": ((8, 8, 1), [DEPTHWISE], (3, 3)),
    "depthwise and more filters": (
        (8, 8, 3), [("DepthwiseConv2D", {"kernel_size": [3, 3], "depth_multiplier": 2})], (3, 3),
    ),
    "depthwise on sequences": ((8, 3), [("DepthwiseConv1D", {"kernel_size": [3]})], (3,)),
    "depthwise, channels first": (
        (3, 8, 8), [("DepthwiseConv2D", {"kernel_size": [3, 5], **FIRST})], (3, 5),
    ),
    "depthwise behind rescaling": ((8, 8, 3), [("Rescaling", {"scale": 2.0}), DEPTHWISE], (3, 3)),
    "depthwise over time": (
        (4, 8, 8, 3),
        [
            (
                "TimeDistributed",
                {"layer": {"class_name": DEPTHWISE[0], "config": DEPTHWISE[1]}},
            )
        ],
        (1, 3, 3),
    ),
    "up-sampling": ((8, 8, 3), [("UpSampling2D", {"size": 2}), DEPTHWISE], (2, 2)),
    "rows as sequence": ((16, 16, 4), SPLIT, (3, INF)),
    "one image in a vector": ((16,), [("Reshape", {"target_shape": [4, 4, 1]}), DEPTHWISE], (11,)),
    "pooling over time only": ((8, 6, 3), [("AveragePooling2D", {"pool_size": [2, 1]})], (2, 1)),
    "global pooling": ((8, 8, 3), [("GlobalAveragePooling2D", {})], (INF, INF)),
    "global pooling, channels first": ((3, 8, 8), [("GlobalMaxPool2D", FIRST)], (INF, INF)),
    "depthwise on rows": (
        (16, 16, 4),
        [SPLIT[0], ("DepthwiseConv1D", {"kernel_size": [3], "depth_multiplier": 2})],
        (3, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_axes_of(name: str, encode: Any) -> None:
    shape, layers, expected = CASES[name]
    graph = encode(shape, *layers)
    assert graph.receptive_field_max == expected
