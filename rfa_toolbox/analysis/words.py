"""Words and numbers that summaries, tables and advice have in common."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.analysis.blocks import Block
from rfa_toolbox.arithmetic import Size

__all__ = [
    "InputTerms",
    "axis_names",
    "counted_in_words",
    "one_line",
    "resolution_text",
    "several",
    "terms_of",
    "verdicts_in_words",
]

WIDEST_COLUMN = 56
"""Characters of a name or path that the text form shows; longer ones lose their middle."""

_KINDS = (
    ("convolution", re.compile(r"conv")),
    ("pooling", re.compile(r"pool")),
    ("dense layer", re.compile(r"linear|dense|gemm")),
    ("attention layer", re.compile(r"attention|attn")),
)
_OTHER = "other layer"
_MOST_KINDS = 2


@attrs.frozen
class InputTerms:
    """What people call an input, and what they count along its axes.

    Attributes:
        whole: an image, or a signal where there is one axis.
        unit: what its size is given in.
        size: what its size is called.
    """

    whole: str
    unit: str
    size: str

    def sized(self, size: str) -> str:
        """Return a size with its unit.

        >>> terms_of(1).sized("1"), terms_of(1).sized("32"), terms_of(2).sized("1")
        ('1 sample', '32 samples', '1 px')
        """
        return f"{size} {self.unit.removesuffix('s') if size == '1' else self.unit}"


def terms_of(axes: int | None) -> InputTerms:
    """Return the terms for an input with so many axes; None is a graph that does not tell.

    >>> terms_of(1)
    InputTerms(whole='signal', unit='samples', size='length')
    """
    if axes == 1:
        return InputTerms("signal", "samples", "length")
    return InputTerms("image", "px", "resolution")


def one_line(text: str) -> str:
    r"""Return a text without line breaks and of bearable length, for a column of a table.

    >>> print(one_line("two\nlines"))
    two\nlines
    """
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    if len(text) <= WIDEST_COLUMN:
        return text
    kept = WIDEST_COLUMN - 3
    return f"{text[: kept // 2]}...{text[-(kept - kept // 2) :]}"


def resolution_text(sizes: Sequence[Size]) -> str:
    """Return a resolution in short: one number where all axes are alike.

    >>> resolution_text((32, 32)), resolution_text((32, 3000)), resolution_text((math.inf,))
    ('32', '32x3,000', 'any')
    """
    shown = ["any" if size == math.inf else f"{size:,}" for size in sizes]
    return shown[0] if len(set(shown)) == 1 else "x".join(shown)


def counted_in_words(some: Sequence[Block], of: Sequence[Block]) -> str:
    """Return how many of some blocks there are, by kind while that is short.

    >>> from rfa_toolbox.analysis.blocks import blocks
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> found = [block for block in blocks(vgg16()) if block.counted]
    >>> counted_in_words(found[-4:], found)
    '3 of 13 convolutions and 1 of 5 poolings'
    """
    parts, whole = (Counter(map(_kind, one)) for one in (some, of))
    if len(parts) > _MOST_KINDS or _OTHER in parts:
        return f"{len(some)} of {several(len(of), 'layer')}"
    return " and ".join(
        f"{count} of {several(whole[kind], kind)}" for kind, count in parts.most_common()
    )


def _kind(block: Block) -> str:
    name = block.type.lower()
    return next((kind for kind, words in _KINDS if words.search(name)), _OTHER)


def several(count: int, thing: str) -> str:
    """Return a number of things, with the number in groups of three digits.

    >>> several(1, "layer"), several(2000, "layer")
    ('1 layer', '2,000 layers')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def verdicts_in_words(counts: Mapping[Any, int]) -> str:
    """Return how many nodes of an experiment have which verdict.

    >>> verdicts_in_words({"agrees": 12, "bound": 2, "not measured": 0, "differs": 1})
    '12 agree, 2 bound, 1 differs'
    """
    return ", ".join(
        f"{count:,} {verdict.removesuffix('s') if count > 1 else verdict}"
        for verdict, count in counts.items()
        if count
    )


def axis_names(count: int) -> tuple[str, ...]:
    """Return what people call the axes of an input.

    >>> axis_names(2), axis_names(1)
    (('height', 'width'), ('length',))
    """
    named = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
    return named.get(count) or tuple(f"axis {axis}" for axis in range(count))
