"""What readers of files say of those that cannot be read: one line each that fits on a screen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.chain import HandlerChain

__all__ = ["check_chain", "in_one_line", "shortened"]

_OF_OTHERS = {"keras": "rfa_toolbox.operators.", "": "rfa_toolbox.encodings.tensorflow_keras."}
"""Where handlers come from that describe layers of other formats."""

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


def check_chain(handlers: Any, example: str, kind: str = "") -> None:
    """Refuse what is no chain of handlers, or one that describes layers of another format.

    Args:
        handlers: what a user gave.
        example: the name of a chain that would be right.
        kind: "keras" for a model of Keras.

    Raises:
        UnsupportedModelError: if it is refused.
    """
    if not isinstance(handlers, HandlerChain):
        raise UnsupportedModelError(
            f"handlers is {handlers!r}; it must be a HandlerChain, such as "
            f"{example}.with_handler(my_handler)."
        )
    for handler in handlers.handlers:
        if type(handler).__module__.startswith(_OF_OTHERS[kind]):
            raise UnsupportedModelError(
                f"handlers holds {handler!r}, which describes layers of another format. Start from "
                f"{example}, as in {example}.with_handler(my_handler)."
            )


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
