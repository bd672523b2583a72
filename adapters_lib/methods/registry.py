"""The register of methods, and their text and JSON forms: `lora:rank=8`, {"name": "lora", "options":
{"rank": 8}}."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from ..errors import AdapterError, unknown
from ..options import convert
from ..vit.method import Method

__all__ = ["METHODS", "format_method", "method_from_dict", "method_to_dict", "parse_method", "register"]

METHODS: dict[str, type[Method]] = {}
"""Every method by its name on the command line."""

M = typing.TypeVar("M", bound=type[Method])


def register(cls: M) -> M:
    """Class decorator: make a method known by its name."""
    METHODS[cls.name] = cls
    return cls


def parse_method(text: str) -> Method:
    """Read `name` or `name:key=value,key=value`; a tuple is written with slashes, e.g. `ila:after=4/8`.

    Raises:
        AdapterError: unknown method or option (the nearest name is suggested, or today's name of a renamed
            option), or a value of the wrong type.

    Examples:
        >>> al.parse_method("lora:rank=8") == al.LoRA(rank=8)
        True
    """
    if not isinstance(text, str):
        raise AdapterError(f"method {text!r} is no text; write name:key=value,key=value")
    name, _, options = text.partition(":")
    cls = _named(name.strip())
    pairs: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise AdapterError(
                f"method {text[:80]!r}: option {item[:80]!r} has no value; write name:key=value,key=value"
            )
        if key in cls.former_options:
            now = cls.former_options[key]
            remedy = f"write {cls.name}:{now}={value}"
            raise AdapterError(f"method {text[:80]!r}: the option {key} is now called {now}; {remedy}")
        pairs[key] = value
    return _built(cls, pairs)


def method_from_dict(spec: dict[str, Any]) -> Method:
    """The method that `method_to_dict` wrote as {"name": …, "options": {…}}, by this or an earlier version.

    Options of an earlier version are read as today's (`Method.upgrade`); one that is missing gets the value
    that leaves the saved model what it was, else its default. Values may be text or JSON.

    Raises:
        AdapterError: as for `parse_method`.
    """
    cls = _named(spec["name"])
    return _built(cls, cls.upgrade(dict(spec.get("options", {}))))


def _named(name: str) -> type[Method]:
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def _built(cls: type[Method], options: Mapping[str, Any]) -> Method:
    """The method with these options, text or JSON values turned into what the fields declare."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    values = {}
    for key, value in options.items():
        if key not in fields:
            raise unknown(f"option of {cls.name}", key, fields)
        values[key] = convert(f"{cls.name}:{key}", value, fields[key])
    return cls(**values)


def method_to_dict(method: Method) -> dict[str, Any]:
    """{"name": …, "options": {…}} with JSON values; `method_from_dict` reads it back."""
    return {"name": method.name, "options": dataclasses.asdict(method)}


def format_method(method: Method) -> str:
    """The text form, with only the options that differ from the defaults."""
    changed = []
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if value != field.default:
            changed.append(f"{field.name}={'/'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return method.name + (":" + ",".join(changed) if changed else "")
