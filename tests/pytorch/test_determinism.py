"""No result depends on the hash seed, on addresses or on what was encoded before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.pytorch.measure import encode, signature

PROGRAM = """
import hashlib, torch
from torch import nn
from rfa_toolbox import create_graph_from_pytorch_model, input_resolution_range
from rfa_toolbox import visualize_architecture
from tests.pytorch.measure import Function, signature

class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(6))
    def forward(self, x):
        found = [x]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)).relu())
        return {"all": torch.cat(found, 1), "some": found[2:4]}

class Exchange(nn.Module):
    def __init__(self):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, 2, 1)
        self.down, self.gate = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1)
    def forward(self, x):
        a, b = self.fine(x), self.coarse(x)
        for _ in range(3):
            a, b = a + nn.functional.interpolate(b, scale_factor=2), b + self.down(a)
            b = b * self.gate(b.mean((2, 3), keepdim=True)).sigmoid()
        return a, b

two = Function(lambda s, x, y: s.a(x) + s.b(y), a=nn.Conv2d(3, 4, 3), b=nn.Conv2d(3, 4, 3))
size = (1, 3, 32, 32)
for model, shape in ((Dense(), size), (Exchange(), size), (two, (size, size))):
    for capture in CAPTURES:
        graph = create_graph_from_pytorch_model(model.eval(), input_res=shape, capture=capture)
        text = repr(signature(graph)) + visualize_architecture(graph, "m", 32).source
        text += repr(input_resolution_range(graph))
        print(hashlib.sha256(text.encode()).hexdigest())
"""


@pytest.mark.parametrize(
    "seeds",
    [pytest.param(range(2), id="two"), pytest.param(range(10), id="ten", marks=pytest.mark.slow)],
)
def test_hash_seeds(seeds: range) -> None:
    captures = ("meta",) if sys.version_info >= (3, 14) else ("meta", "jit")
    root = Path(__file__).parents[2]
    found = set()
    for seed in seeds:
        done = subprocess.run(
            [sys.executable, "-c", f"CAPTURES = {captures!r}\n{PROGRAM}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(root)},
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1
    (text,) = found
    assert len(text.split()) == 3 * len(captures)


def test_what_was_encoded_before_changes_nothing() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()

    first = encode(make(), (1, 3, 16, 16))
    before = signature(first)
    others = [encode(make(), (1, 3, 16, 16)) for _ in range(20)]
    assert all(signature(other) == before for other in others)
    assert signature(first) == before
    assert not set(first.all_layers) & set(others[0].all_layers)


def test_random_states_do_not_matter() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.FractionalMaxPool2d(2, 8))
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(signature(encode(model, (1, 3, 32, 32))))
    assert found[0] == found[1] == found[2]
