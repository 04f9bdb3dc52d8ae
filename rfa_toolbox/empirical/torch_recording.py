"""Running a model with real tensors and writing down what it does, without keeping the tensors."""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref
from collections.abc import Iterator

import torch

from rfa_toolbox.encodings.pytorch import meta

__all__ = ["Forgetful", "plain_kernels"]


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Keep to kernels that mix nothing but what is under the window: no Winograd, no FFT.

    With those of oneDNN for 16 bits, NaN gets a column too far.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="TF32 acceleration", category=UserWarning)
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        yield


def _forget(numbers: dict[int, int], key: int, _: object) -> None:
    numbers.pop(key, None)


class Forgetful(meta.Recorder):
    """Records what a model does with real tensors, and frees them as the model does."""

    def keep(self, tensor: torch.Tensor) -> None:
        """Forget the number of a tensor that is freed, as memory for all of them would be much."""
        forget = functools.partial(_forget, self._numbers, id(tensor))
        self._watched: list[weakref.ref[torch.Tensor]] = getattr(self, "_watched", [])
        self._watched.append(weakref.ref(tensor, forget))
