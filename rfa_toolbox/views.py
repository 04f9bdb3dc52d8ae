"""How values show themselves in a notebook or a browser; what they look like is up to rendering.

Graphs and tables know that they can be shown, and ask here. Nothing below rendering imports it:
rendering registers its views for the types that it knows.
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["bundle", "page_of", "view_of"]


@functools.singledispatch
def view_of(value: object) -> str:
    """Return a small piece of HTML that shows a value within a page, such as a notebook.

    Raises:
        NotImplementedError: for a value of a type that has no view.
    """
    raise NotImplementedError(f"Nothing registered a view for {type(value).__name__}.")


@functools.singledispatch
def page_of(value: object) -> str:
    """Return a whole HTML page on a value.

    Raises:
        NotImplementedError: for a value of a type that has no page.
    """
    raise NotImplementedError(f"Nothing registered a page for {type(value).__name__}.")


def bundle(value: object, text: str) -> dict[str, Any]:
    """Return what a notebook asks for: a value as plain text and as HTML."""
    return {"text/plain": text, "text/html": view_of(value)}
