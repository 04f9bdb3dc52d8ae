"""From the text of an option to its value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from rfa_toolbox.cli.problems import UsageError

__all__ = ["InputShape", "parse_kwargs", "parse_resolutions", "parse_shapes"]


class InputShape(NamedTuple):
    """The shape of one input, and of which type its numbers are, if that was said."""

    sizes: tuple[int, ...]
    type: str | None = None


_SIZES = re.compile(r"[1-9][0-9]*(x[1-9][0-9]*)*")


def parse_resolutions(texts: Iterable[str]) -> tuple[int | tuple[int, ...], ...]:
    """Return the resolutions that ``--input-res`` names, in pixels, each one once.

    >>> parse_resolutions(["32,64", "32x64"])
    (32, 64, (32, 64))
    """
    found = [
        _sizes(part, "--input-res", "a resolution such as 32 or 32x64 (height x width)")
        for text in texts
        for part in text.split(",")
    ]
    return tuple(dict.fromkeys(one[0] if len(one) == 1 else one for one in found))


def parse_shapes(texts: Iterable[str]) -> tuple[InputShape, ...]:
    """Return the shapes that ``--input-shape`` names, one per input of the model.

    >>> parse_shapes(["1x3x224x224", "1x128:int64"])[1]
    InputShape(sizes=(1, 128), type='int64')
    """
    return tuple(_shape(part) for text in texts for part in text.split(","))


def _shape(text: str) -> InputShape:
    sizes, colon, kind = text.strip().lower().partition(":")
    if (colon and not kind.isidentifier()) or not _SIZES.fullmatch(sizes):
        raise UsageError(
            f"--input-shape is {text!r}; it must be a shape with batch and channels in front, such "
            "as 1x3x224x224, of positive whole numbers, where the model takes other than real "
            "numbers with their type, such as 1x128:int64, and several are separated by commas."
        )
    return InputShape(tuple(map(int, sizes.split("x"))), kind or None)


def _sizes(text: str, option: str, expected: str) -> tuple[int, ...]:
    plain = text.strip().lower()
    if not _SIZES.fullmatch(plain):
        raise UsageError(
            f"{option} is {text!r}; it must be {expected}, of positive whole numbers, and several "
            "are separated by commas."
        )
    return tuple(map(int, plain.split("x")))


def parse_kwargs(texts: Iterable[str]) -> dict[str, Any]:
    """Return the arguments that ``--kwargs`` names, as JSON objects or as NAME=VALUE.

    A VALUE is JSON if it can be, and a text otherwise.

    >>> parse_kwargs(['{"weights": null}', "depth=18", "name=small"])
    {'weights': None, 'depth': 18, 'name': 'small'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            try:
                found[name] = json.loads(value)
            except json.JSONDecodeError:
                found[name] = value
            continue
        try:
            several = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(
                f"--kwargs is {text!r}, which is no JSON ({error}); it must be an object such as "
                """'{"weights": null}', or NAME=VALUE."""
            ) from None
        if not isinstance(several, dict):
            raise UsageError(
                f"--kwargs is {text!r}; it must be a JSON object such as "
                """'{"weights": null}', or NAME=VALUE."""
            )
        found.update(several)
    return found
