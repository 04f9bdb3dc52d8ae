"""Files of Keras models with one to three mutations each, and what the encoder makes of them."""

from __future__ import annotations

import io
import json
import random
import signal
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_keras_json
from rfa_toolbox.encodings.tensorflow_keras.lowering_layers import LAYERS
from rfa_toolbox.encodings.tensorflow_keras.lowering_operations import OPERATIONS
from rfa_toolbox.errors import RFAError

__all__ = ["SECONDS", "broken", "complaint", "mutated"]

SECONDS = 5
_DATA = Path(__file__).parent / "data"
_LONGEST = 1000

_ODD: Sequence[Any] = (
    None, True, -1, 0, 1, 2, 7, -5, 99, 10**9, 2**63, 10**400, 1.5, 1e308, float("nan"), "", "wat",
    "same", "valid", "channels_first", "i", [], {}, [None], [0], [-1, -1], [3, 3], [[1, 2], [3, 4]],
    [1] * 2000, "x" * 5000, {"class_name": "__tuple__", "items": [1]},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["gone", 0, 0]}},
    ["gone", 0, 0, {}],
)  # fmt: skip


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list or object in a value, with each of its keys or indices."""
    several = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(several):
        yield value, key
        yield from _places(inner)


def _mutate(model: Any, chance: random.Random) -> None:
    holder, key = chance.choice(list(_places(model)))
    kind = chance.randrange(7)
    value = holder[key]
    if kind == 0:
        del holder[key]
    elif kind == 1 and type(value) is int:
        holder[key] = chance.choice([value + 1, value - 1, -value, value * 1000, value // 2])
    elif kind == 2:
        holder[key] = json.loads(json.dumps(chance.choice(list(_places(model)))[0]))
    elif kind == 3:
        other, place = chance.choice(list(_places(model)))
        holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 4:
        _rename(model, chance)
    elif kind == 5 and isinstance(holder, list):
        holder.insert(key, json.loads(json.dumps(value)))
    else:
        holder[key] = json.loads(json.dumps(chance.choice(_ODD)))


def _rename(model: Any, chance: random.Random) -> None:
    """Let a layer be one of another class, or an operation."""
    named = [one for one, key in _places(model) if key == "class_name"]
    if named:
        layer = chance.choice(named)
        layer["class_name"] = chance.choice([*LAYERS, *OPERATIONS])
        if chance.random() < 0.4:
            layer["module"] = "keras.src.ops.numpy"


def broken(content: bytes, chance: random.Random) -> bytes:
    """Return a content with some bytes changed, left out or repeated."""
    changed = bytearray(content)
    kind = chance.randrange(4)
    if kind == 0:
        return bytes(changed[: chance.randrange(len(changed))])
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed))
        if kind == 1:
            changed[place] = chance.randrange(256)
        elif kind == 2:
            del changed[place : place + chance.randint(1, 40)]
        else:
            changed[place:place] = changed[place : place + chance.randint(1, 40)]
        if not changed:
            break
    return bytes(changed)


def mutated(seed: int) -> bytes:
    """Return the content of a file: JSON or a ``.keras`` archive, with something wrong in it."""
    chance = random.Random(seed)
    text = chance.choice(sorted(_DATA.glob("k*.json"))).read_text()
    how = chance.random()
    if how < 0.8:
        model = json.loads(text)
        for _ in range(chance.randint(1, 3)):
            _mutate(model, chance)
        text = json.dumps(model)
    content = text.encode()
    if chance.random() < 0.15:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", content)
        content = packed.getvalue()
    return content if how < 0.8 else broken(content, chance)


class _TookTooLong(BaseException):
    pass


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TookTooLong


def complaint(content: bytes, read: Callable[[bytes], Any] = create_graph_from_keras_json) -> str:
    """Return what is wrong with how a file is read; empty for a graph, or one clear line."""
    before = signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(content)
    except RFAError as error:
        text = str(error)
        if not isinstance(error, ValueError) or "\n" in text or not 0 < len(text) <= _LONGEST:
            return f"{type(error).__name__} of {len(text)} characters: {text[:200]!r}"
    except _TookTooLong:
        return f"more than {SECONDS} s"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
        return f"{type(error).__name__}: {str(error)[:200]}\n{traceback.format_exc()[-1500:]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""
