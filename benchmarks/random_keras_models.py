"""Compare random functional models of Keras with an experiment, unit by unit.

``python -m benchmarks.random_keras_models 0 2000`` takes the models of these seeds, and prints
those of which the analysis says something that the experiment does not.
"""

from __future__ import annotations

import functools
import sys

import keras

from benchmarks.random_models import compare
from tests.keras.random_models import contradictions

if __name__ == "__main__":
    sys.exit(bool(compare(functools.partial(contradictions, keras), *map(int, sys.argv[1:3]))))
