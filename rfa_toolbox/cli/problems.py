"""What can be wrong with what a user typed, and how it is said in one line."""

from __future__ import annotations

import sys
import traceback
import unicodedata

from rfa_toolbox.errors import RFAError

__all__ = ["ModelCodeError", "UsageError", "complain", "printable", "remark"]


class UsageError(RFAError, ValueError):
    """Something on the command line is wrong, or does not go together."""


class ModelCodeError(RFAError, RuntimeError):
    """The code that a SPEC names raised an exception of its own."""


def printable(text: str, kept: str = "") -> str:
    r"""Return a text in which nothing steers a terminal: control characters are spelled out.

    Args:
        text: any text.
        kept: characters to keep, such as line breaks.

    >>> print(printable("a\x1b[31m\nb"))
    a\x1b[31m\nb
    """
    return "".join(
        char if char in kept or not unicodedata.category(char).startswith("C") else repr(char)[1:-1]
        for char in text
    )


def complain(text: str, shown: BaseException | None = None) -> None:
    """Say in one line on standard error what is wrong, behind the traceback of an exception."""
    if shown is not None:
        sys.stderr.write("".join(traceback.format_exception(shown)))
    _say("error", text)


def remark(text: object) -> None:
    """Say something in one line on standard error that the result does not carry."""
    _say("warning", str(text))


def _say(kind: str, text: str) -> None:
    line = printable(" ".join(text.split()))
    sys.stderr.write(f"rfa: {kind}: {line}\n")
    sys.stderr.flush()
