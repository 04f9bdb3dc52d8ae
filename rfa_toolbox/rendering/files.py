"""Writing a file as a whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], content: bytes | Iterable[bytes]) -> None:
    """Write a file in one step: it has its old content, or all of the new one.

    The content, as a whole or in parts, goes into a hidden file beside it first, which is gone
    afterwards also if writing fails or is interrupted. A link stays a link, and what is no file,
    such as ``/dev/stdout``, is written to directly. The folder must exist.

    Raises:
        OSError: if the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder, "note.txt"), b"hello")
    ...     [(one.name, one.read_bytes()) for one in Path(folder).iterdir()]
    [('note.txt', b'hello')]
    """
    parts = [content] if isinstance(content, bytes) else content
    target = Path(path)
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            file.writelines(parts)
        return
    target = target.resolve()
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("wb") as file:
            file.writelines(parts)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
