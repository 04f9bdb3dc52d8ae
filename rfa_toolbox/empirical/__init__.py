"""Experiments on live models: where their units look, measured; no framework is imported here."""

from __future__ import annotations

from rfa_toolbox.empirical.measurement import measure_receptive_field
from rfa_toolbox.empirical.results import MeasuredField, ReceptiveFieldMeasurement
from rfa_toolbox.empirical.verification import VerificationReport, VerifiedNode, verify

__all__ = [
    "MeasuredField",
    "ReceptiveFieldMeasurement",
    "VerificationReport",
    "VerifiedNode",
    "measure_receptive_field",
    "verify",
]
