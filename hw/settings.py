"""Tables of a configuration file -> frozen dataclasses, with every error at once.

A driver declares its settings as a frozen dataclass whose fields are made by ``setting``; nothing else
is needed to have them checked, documented by ``masthead sensors`` and named in error messages.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_LARGEST = sys.float_info.max  # NaN, infinities and TOML's whole numbers may be beyond


@dataclass(frozen=True)
class SettingError:
    """One thing wrong with a configuration: ``key`` (dotted path) and what was expected there."""

    key: str
    message: str

    def __str__(self) -> str:
        """One line, whatever a key is called."""
        text = f"{self.key}: {self.message}"
        return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def setting(
    default: Any = dataclasses.MISSING,
    *,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
    example: Any = None,
    hexadecimal: bool = False,
    suggested: bool = False,
    endless: bool = False,
) -> Any:
    """A dataclass field with what a person needs to know of it.

    ``doc`` is one line without a full stop; limits are inclusive; ``example`` is what documentation
    shows where there is no default; ``hexadecimal``: a number that people write so, such as an address;
    ``suggested``: most people give it, so the stanza to copy does, with its example; ``endless``: ``inf`` is
    allowed, and means never.
    """
    meta = {
        "doc": doc,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "example": example,
        "hexadecimal": hexadecimal,
        "suggested": suggested,
        "endless": endless,
    }
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=default.copy, metadata=meta)
    return dataclasses.field(default=default, metadata=meta)


def toml_text(value: object, meta: Mapping[str, Any]) -> str:
    """``value`` as it is written in the file; ``meta`` is the metadata of its field."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_text(v, meta)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_text(v, meta) for v in value) + "]"
    if meta.get("hexadecimal") and isinstance(value, int) and not isinstance(value, bool):
        return f"0x{value:02x}"
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return json.dumps(value, ensure_ascii=False)


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """ ", did you mean 'x'?" if some known word is close to this one in any case; else ``otherwise``, or the
    list of what is known."""
    names = sorted(known)
    spelt = {name.lower(): name for name in names}
    if close := _closest(word.lower(), spelt):
        return f", did you mean {spelt[close]!r}?"
    if otherwise is not None:
        return otherwise
    return f" (known: {', '.join(names)})" if names else ""


def _closest(word: str, known: Iterable[str]) -> str | None:
    import difflib  # only where something is wrong: it costs memory

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def parse(cls: type[T], table: Mapping[str, Any], path: str = "") -> tuple[T | None, list[SettingError]]:
    """``table`` as an instance of the frozen dataclass ``cls``, or None, and everything wrong with it.

    ``path`` is the dotted place of the table in the file. Unknown keys are errors.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    errors = [
        SettingError(_join(path, key), f"unknown key{did_you_mean(key, fields)}")
        for key in table
        if key not in fields
    ]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        key = _join(path, name)
        if name in table:
            values[name], wrong = _convert(table[name], hints[name], field.metadata, key)
            errors += wrong
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            doc = field.metadata.get("doc", "")
            errors.append(SettingError(key, f"is missing: {_expected(hints[name], field.metadata)} ({doc})"))
    if errors:
        return None, errors
    try:
        return cls(**values), []
    except ValueError as error:  # a dataclass may check its fields against each other
        return None, [SettingError(path or "(top level)", str(error))]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _convert(value: Any, hint: Any, meta: Mapping[str, Any], key: str) -> tuple[Any, list[SettingError]]:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return None, [SettingError(key, f"expected a table [{key}], got {value!r}")]
        return parse(hint, value, key)
    if meta.get("endless") and value == math.inf:
        return value, []
    converted, good = _match(value, hint)
    if not good or not _within(converted, meta):
        wrong = f"expected {_expected(hint, meta)}, got {_shown(value, meta)}{_hint(value, meta)}"
        return None, [SettingError(key, wrong)]
    return converted, []


def _hint(value: Any, meta: Mapping[str, Any]) -> str:
    choices = meta.get("choices")
    if choices and isinstance(value, str) and all(isinstance(c, str) for c in choices):
        close = _closest(value, choices)
        return f", did you mean {close!r}?" if close else ""
    return ""


def _shown(value: Any, meta: Mapping[str, Any]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return toml_text(value, meta) if meta.get("hexadecimal") and isinstance(value, int) else repr(value)


def _match(value: Any, hint: Any) -> tuple[Any, bool]:  # noqa: PLR0911  (one line a type)
    """(value as ``hint``, whether it fits). TOML never yields None, so Optional means its other member."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for member in (m for m in typing.get_args(hint) if m is not type(None)):
            converted, good = _match(value, member)
            if good:
                return converted, True
        return None, False
    if origin is tuple:
        member = typing.get_args(hint)[0]
        if not isinstance(value, (list, tuple)):
            return None, False
        items = [_match(v, member) for v in value]
        return tuple(v for v, _ in items), all(good for _, good in items)
    if origin in (dict, Mapping) or hint is dict:
        args = typing.get_args(hint)
        good = isinstance(value, Mapping) and all(_match(v, args[1])[1] for v in value.values())
        return (dict(value), True) if good else (None, False)
    if hint is bool:
        return value, isinstance(value, bool)
    if hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
        return (float(value), True) if good else (None, False)
    if hint is int:
        return value, isinstance(value, int) and not isinstance(value, bool)
    return value, isinstance(value, hint)


def _within(value: Any, meta: Mapping[str, Any]) -> bool:
    choices, low, high = meta.get("choices"), meta.get("minimum"), meta.get("maximum")
    if choices is not None and value not in choices:
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (low is None or value >= low) and (high is None or value <= high)
    return not (value == "" and isinstance(value, str))


_WORDS = {bool: "true or false", float: "a number", int: "a whole number", str: "a text"}
_MANY = {bool: "switches", float: "numbers", int: "whole numbers", str: "texts"}


def _expected(hint: Any, meta: Mapping[str, Any]) -> str:
    if meta.get("choices") is not None:
        return "one of " + ", ".join(_shown(c, meta) for c in meta["choices"])
    words = _limited(_words(hint), meta)
    return f"{words}, or inf for never" if meta.get("endless") else words


def _limited(words: str, meta: Mapping[str, Any]) -> str:
    low, high = meta.get("minimum"), meta.get("maximum")
    if low is not None and high is not None:
        return f"{words} from {_figure(low, meta)} to {_figure(high, meta)}"
    if low is not None:
        return f"{words}, at least {_figure(low, meta)}"
    return f"{words}, at most {_figure(high, meta)}" if high is not None else words


def _words(hint: Any) -> str:
    """What a value of this type is called."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(member) for member in typing.get_args(hint) if member is not type(None))
    if origin is tuple:
        return "a list of " + _many(typing.get_args(hint)[0])
    if origin in (dict, Mapping):
        return "a table of texts"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _many(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "lists of " + _many(typing.get_args(hint)[0])
    return _MANY.get(hint, "values")


def _figure(number: float, meta: Mapping[str, Any]) -> str:
    """In full, so that it can be copied."""
    whole = number == int(number)
    return toml_text(int(number), meta) if whole else f"{number:g}"
