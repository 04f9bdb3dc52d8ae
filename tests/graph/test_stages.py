"""Stages of hand-made architectures: each has at least one layer."""

from __future__ import annotations

import pytest

from rfa_toolbox.architectures.resnet import residual_block, resnet
from rfa_toolbox.architectures.vgg import vgg
from rfa_toolbox.errors import InvalidGraphError


@pytest.mark.parametrize("config", [[], (0,), (1, -2), (1.5,), (1, None), None, 3, "12"])
def test_stages_without_layers_are_quoted(config: object) -> None:
    for make in (lambda: resnet(config, residual_block), lambda: vgg(config)):  # type: ignore[arg-type]
        with pytest.raises(InvalidGraphError, match="sequence of whole numbers") as caught:
            make()
        assert f"stage_config is {config!r}" in str(caught.value)
