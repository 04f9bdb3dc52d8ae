"""How many blocks or convolutions the stages of a network have."""

from __future__ import annotations

from typing import Any

from rfa_toolbox import arithmetic
from rfa_toolbox.errors import InvalidGraphError, InvalidLayerError

__all__ = ["checked_stages"]


def checked_stages(stage_config: Any) -> tuple[int, ...]:
    """Return the numbers of layers per stage, if each stage has at least one.

    >>> checked_stages([2, 2])
    (2, 2)
    """
    try:
        stages = arithmetic.normalise_integers(stage_config, "stage_config")
    except InvalidLayerError:
        stages = 0
    if isinstance(stages, int) or None in stage_config:
        raise InvalidGraphError(
            f"stage_config is {stage_config!r}; it must be a sequence of whole numbers of at least "
            "1, one per stage, such as (2, 2, 2, 2)."
        )
    return stages
