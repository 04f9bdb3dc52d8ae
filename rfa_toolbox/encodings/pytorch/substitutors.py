"""Rewrites of drafts, which :mod:`rfa_toolbox.operators.substitutors` makes."""

from __future__ import annotations

from rfa_toolbox.operators.substitutors import (
    FoldingSubstitutor,
    PatternSubstitutor,
    concatenation_substitutor,
    input_substitutor,
    numeric_substitutor,
    output_substitutor,
    vector_substitutor,
)

__all__ = [
    "FoldingSubstitutor",
    "PatternSubstitutor",
    "concatenation_substitutor",
    "input_substitutor",
    "numeric_substitutor",
    "output_substitutor",
    "vector_substitutor",
]
