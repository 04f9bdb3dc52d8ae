"""From a diagnosis to a better architecture."""

from rfa_toolbox.refinement.editing import edit
from rfa_toolbox.refinement.edits import (
    CutBehind,
    Edit,
    InsertPooling,
    Rebuild,
    RemovePooling,
    SetWindow,
)
from rfa_toolbox.refinement.live.application import (
    RefinedModel,
    apply_refinement,
    refine_model,
)
from rfa_toolbox.refinement.plan import Prediction, Refinement, predict, refinement_of

__all__ = [
    "CutBehind",
    "Edit",
    "InsertPooling",
    "Prediction",
    "Rebuild",
    "RefinedModel",
    "Refinement",
    "RemovePooling",
    "SetWindow",
    "apply_refinement",
    "edit",
    "predict",
    "refine_model",
    "refinement_of",
]
