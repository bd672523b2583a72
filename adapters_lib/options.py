"""Values that callers give, checked where they come in: kinds, bounds, seeds, and how many workers the
machine grants.

Each check gives the value back or raises an AdapterError that names the value, the rule and what to do.
"""

from __future__ import annotations

import math
import numbers
import os
import types
import typing
from typing import Any

from .cores import available_cores
from .errors import AdapterError

__all__ = [
    "MOST_BATCH",
    "MOST_CLASSES",
    "MOST_SIDE",
    "PRECISIONS",
    "check_seed",
    "check_workers",
    "convert",
    "described",
    "fits",
    "real_number",
    "whole_number",
]

MOST_SEED = 2**63 - 1  # what every generator here takes
MOST_CLASSES = 1_000_000
MOST_SIDE = 8192  # pixels of a square image
MOST_BATCH = 1_000_000

PRECISIONS = ("no", "bf16", "fp16", "auto")
"""Words for the precision of products: float32, bfloat16, float16, or what is fast on the machine."""

_NAMES = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "a text",
    type(None): "None",
    os.PathLike: "a path",
}


def whole_number(what: str, value: object, least: int = 0, most: int | None = None) -> int:
    """`value` as an int within its bounds; NumPy's whole numbers count, True and 3.0 do not."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) <= (math.inf if most is None else most):  # type: ignore[call-overload]
        raise AdapterError(f"{what}={_shown(value)}; give a whole number, {_bounds(least, most)}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def real_number(
    what: str, value: object, least: float = -math.inf, most: float = math.inf, above: bool = False
) -> float:
    """`value` as a finite float within its bounds. above: `least` itself is not allowed."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not real or not least <= float(value) <= most or (above and float(value) == least):  # type: ignore[arg-type]
        rule = _bounds(least, most) if not above else _bounds(least, most).replace("at least", "above", 1)
        raise AdapterError(f"{what}={_shown(value)}; give a finite number{f', {rule}' if rule else ''}")
    return float(value)  # type: ignore[arg-type]


def check_seed(value: object, what: str = "seed") -> int:
    """A seed that torch and NumPy both take: a whole number from 0 to 2⁶³ − 1."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not 0 <= int(value) <= MOST_SEED:  # type: ignore[call-overload]
        raise AdapterError(f"{what}={_shown(value)}; give a whole number from 0 to 2**63 - 1")
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_workers(value: object, what: str = "num_workers") -> int:
    """Loader processes: from 0 up to the cores that this process may use (2 are always allowed)."""
    most = max(2, available_cores())
    if isinstance(value, int) and not isinstance(value, bool) and value > most:
        raise AdapterError(
            f"{what}={value}, but this process may use {available_cores()} core(s); give 0 to {most}"
        )
    return whole_number(what, value, 0, most)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that an annotation declares; a whole number will do for a float, a
    bool for neither."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if hint is Any:
        return True
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(item, arguments[0]) for item in value)
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, origin or hint)


def described(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(described, arguments))
    if origin is tuple:
        return f"a tuple, each entry {described(arguments[0])}"
    return _NAMES.get(origin or hint, getattr(hint, "__name__", str(hint)))


def convert(what: str, value: Any, hint: Any) -> Any:
    """Turn text or a JSON value into the type that a field declares (int, float, bool, str, tuple, or
    None)."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "None":
            if type(None) in arguments:
                return None
            raise AdapterError(f"{what}: None is not allowed here")
        kinds = [a for a in arguments if a is not type(None)]
        for kind in kinds[:-1]:
            try:
                return convert(what, value, kind)
            except AdapterError:
                continue
        return convert(what, value, kinds[-1])
    if origin is tuple:
        items = value.split("/") if isinstance(value, str) else list(value)
        return tuple(convert(what, item, arguments[0]) for item in items)
    if hint is bool:
        flags = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() in flags:
            return flags[str(value).lower()]
    elif hint in (int, float, str) and not isinstance(value, bool):
        try:
            converted = hint(value)
            if hint is not int or float(value) == converted:
                return converted
        except (TypeError, ValueError, OverflowError):
            pass
    shown = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"
    raise AdapterError(
        f"{what}={shown} is not a valid {getattr(hint, '__name__', hint)}; write {described(hint)}"
    )


def _bounds(least: float, most: float | None) -> str:
    lower = f"at least {least:,}" if least > -math.inf else ""
    upper = f"at most {most:,}" if most is not None and most < math.inf else ""
    return " and ".join(filter(None, (lower, upper)))


def _shown(value: object) -> str:
    """A value for a message: its beginning is enough."""
    text = (
        repr(value)
        if not isinstance(value, int) or value.bit_length() < 4000
        else "a number of thousands of digits"
    )
    return text if len(text) <= 60 else f"{text[:57]}…"
