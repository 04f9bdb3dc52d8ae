"""Experiments on live models: where their units look, measured; no framework is imported here."""

from __future__ import annotations

from rfa_toolbox.empirical.effective import (
    CentredSquare,
    EffectiveReceptiveField,
    WeightsComparison,
    compare_with_random_weights,
    effective_receptive_field,
    reinitialised,
)
from rfa_toolbox.empirical.gradient import GradientMap, gradient_map
from rfa_toolbox.empirical.measurement import measure_receptive_field
from rfa_toolbox.empirical.results import MeasuredField, ReceptiveFieldMeasurement
from rfa_toolbox.empirical.verification import VerificationReport, VerifiedNode, verify

__all__ = [
    "CentredSquare",
    "EffectiveReceptiveField",
    "GradientMap",
    "MeasuredField",
    "ReceptiveFieldMeasurement",
    "VerificationReport",
    "VerifiedNode",
    "WeightsComparison",
    "compare_with_random_weights",
    "effective_receptive_field",
    "gradient_map",
    "measure_receptive_field",
    "reinitialised",
    "verify",
]
