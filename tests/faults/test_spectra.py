"""Spectra of windows of a signal, and signals put together of spectra, see what they see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import verify
from tests.pytorch.measure import Function, encode


def spectrum(window: int = 64, **options: Any) -> nn.Module:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        values = torch.hann_window(window, periodic=False, dtype=x.dtype) + 0.1
        values = values.to(x.device)
        return torch.stft(
            x, 64, 16, win_length=window, window=values, return_complex=True, **options
        ).abs()

    return Function(function)


def seen(model: nn.Module, frame: int) -> tuple[int, int]:
    """Return the first and the last sample that changes a frame."""
    x = torch.rand(1, 800, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, found = model(x)[0, :, frame], []
    for place in range(400):
        z = x.clone()
        z[0, place] += 5
        if not torch.allclose(model(z)[0, :, frame], y, atol=1e-12):
            found.append(place)
    return found[0], found[-1]


WAYS: dict[str, tuple[nn.Module, tuple[int, int]]] = {
    "not centred": (spectrum(center=False), (160, 223)),
    "centred, zeros": (spectrum(pad_mode="constant"), (128, 191)),
    "centred, reflected": (spectrum(), (128, 191)),
    "a short window": (spectrum(40, center=False), (172, 211)),
    "a short window, centred": (spectrum(40, center=True, pad_mode="constant"), (140, 179)),
    "an odd window": (spectrum(41, center=False), (171, 211)),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_frame_sees_its_window(name: str) -> None:
    model, expected = WAYS[name]
    assert seen(model, 10) == expected
    for capture in ("meta", "jit"):
        graph = encode(model, (1, 800), capture=capture)
        assert graph.input_region((10,))[0] == expected
        assert graph.certainty == "exact"


def enhancer(kernel: int) -> nn.Module:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        values = torch.hann_window(64).to(x.device)
        z = torch.stft(x, 64, 16, window=values, return_complex=True)
        mask = torch.sigmoid(s.c(z.abs()))
        return torch.istft(z * mask, 64, 16, window=values, length=x.shape[-1])

    return Function(function, c=nn.Conv1d(33, 33, kernel, padding=kernel // 2))


@pytest.mark.parametrize(("kernel", "field"), [(1, 112), (3, 144), (5, 176)])
def test_a_signal_from_spectra_sees_all_frames_that_cover_it(kernel: int, field: int) -> None:
    """4 frames of 64 samples, 16 apart, cover a sample: 112 samples, and a step more per frame."""
    graph = encode(enhancer(kernel), (1, 800))
    assert graph.receptive_field_max == (field,)
    assert graph.feature_map == (800,)


def parts(x: torch.Tensor) -> torch.Tensor:
    values = torch.ones(64, dtype=x.dtype, device=x.device)
    z = torch.stft(x, 64, 16, window=values, center=False, return_complex=True)
    return torch.view_as_real(z)


PARTS: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {
    "as channels of a map": (
        Function(
            lambda s, x: s.c(parts(x).permute(0, 3, 1, 2)), c=nn.Conv2d(2, 3, (1, 3))
        ), (96,), (45,),
    ),
    "summed": (Function(lambda s, x: parts(x).square().sum(-1)), (64,), (47,)),
    "put together again": (
        Function(lambda s, x: torch.view_as_complex(2 * parts(x)).abs()), (64,), (47,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_the_parts_of_complex_numbers_are_a_dimension_without_places(name: str) -> None:
    model, field, frames = PARTS[name]
    graph = encode(model, (1, 800))
    assert (graph.receptive_field_max, graph.certainty) == (field, "exact")
    assert graph.feature_map == frames


def test_a_complex_number_of_two_places_sees_both() -> None:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        pairs = s.a(x).view(1, 2, -1, 2)
        result: torch.Tensor = s.b(torch.view_as_complex(pairs).abs())
        return result

    model = Function(function, a=nn.Conv1d(2, 2, 3), b=nn.Conv1d(2, 2, 3))
    graph = encode(model, (1, 2, 42))
    assert (graph.receptive_field_max, graph.certainty) == ((8,), "exact")
    assert graph.feature_map == (18,)


@pytest.mark.parametrize("center", [True, False])
def test_a_spectrum_of_a_shorter_window_is_measured_as_wide_as_that(center: bool) -> None:
    def spectra(s: Any, x: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(20, dtype=x.dtype, device=x.device)
        return torch.stft(x, 32, 8, 20, window, center=center, return_complex=True).abs()

    report = verify(Function(spectra), (1, 256))
    assert [(one.verdict, one.size) for one in report.nodes] == [("agrees", (20,))] * 2
