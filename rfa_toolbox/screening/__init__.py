"""Screening: many candidates at once, before any of them is trained."""

from __future__ import annotations

from rfa_toolbox.screening.candidates import Candidate
from rfa_toolbox.screening.conditions import condition
from rfa_toolbox.screening.progress import Progress
from rfa_toolbox.screening.rows import AtResolution, ScreeningRow, rows_to_csv
from rfa_toolbox.screening.running import screen
from rfa_toolbox.screening.selection import distinct, pareto, top
from rfa_toolbox.screening.specs import (
    GraphSpec,
    LayerSpec,
    Section,
    activation,
    add,
    branches,
    chain,
    concatenate,
    conv,
    dense,
    dropout,
    global_pool,
    multiply,
    norm,
    pool,
    section,
    squeeze_excite,
    upsample,
)
from rfa_toolbox.screening.store import Store

__all__ = [
    "AtResolution",
    "Candidate",
    "GraphSpec",
    "LayerSpec",
    "Progress",
    "ScreeningRow",
    "Section",
    "Store",
    "activation",
    "add",
    "branches",
    "chain",
    "concatenate",
    "condition",
    "conv",
    "dense",
    "distinct",
    "dropout",
    "global_pool",
    "multiply",
    "norm",
    "pareto",
    "pool",
    "rows_to_csv",
    "screen",
    "section",
    "squeeze_excite",
    "top",
    "upsample",
]
