"""From a diagnosis to a better architecture."""

from rfa_toolbox.refinement.advice import Advice, suggest_refinements
from rfa_toolbox.refinement.editing import edit
from rfa_toolbox.refinement.edits import (
    CutBehind,
    Edit,
    InsertPooling,
    Rebuild,
    RemovePooling,
    Repeat,
    SetWindow,
)
from rfa_toolbox.refinement.live.application import (
    RefinedModel,
    apply_refinement,
    other_widths,
    refine_model,
)
from rfa_toolbox.refinement.plan import Prediction, Refinement, predict, refinement_of
from rfa_toolbox.refinement.steps import DownsamplingStep, downsampling_steps
from rfa_toolbox.refinement.strategies import STRATEGIES, Strategy

__all__ = [
    "STRATEGIES",
    "Advice",
    "CutBehind",
    "DownsamplingStep",
    "Edit",
    "InsertPooling",
    "Prediction",
    "Rebuild",
    "RefinedModel",
    "Refinement",
    "RemovePooling",
    "Repeat",
    "SetWindow",
    "Strategy",
    "apply_refinement",
    "downsampling_steps",
    "edit",
    "other_widths",
    "predict",
    "refine_model",
    "refinement_of",
    "suggest_refinements",
]
