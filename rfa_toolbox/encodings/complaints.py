"""What readers of files say of those that cannot be read: one line each that fits on a screen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rfa_toolbox.errors import UnsupportedModelError

__all__ = ["in_one_line", "shortened"]

_LONGEST = 1000


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return a text in one line without most of its middle, if it is longer than a screen takes.

    >>> shortened("the list [" + "3, " * 1000 + "3]", 40)
    'the list [3, 3, 3, 3, 3, 3,... 3, 3, 3]'
    """
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 3]}...{text[-end:]}"


@contextlib.contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Let errors about a model say one short line, whatever the values are that they quote.

    Args:
        what: is read, for the case that it is nested more deeply than Python can follow.
    """
    try:
        yield
    except UnsupportedModelError as error:
        told = shortened(str(error))
        if told == str(error):
            raise
        raise type(error)(told) from error.__cause__
    except RecursionError as error:
        raise UnsupportedModelError(
            f"The {what} is nested too deeply to be read; models have some tens of levels."
        ) from error
