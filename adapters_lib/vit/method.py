"""What a method is: a dataclass of options that plugs small modules into an adapted model."""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import AdapterError, unknown
from ..options import described, fits

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["METHODS", "Method", "format_method", "method_from_dict", "method_to_dict", "parse_method", "register"]

METHODS: dict[str, type[Method]] = {}
"""Every method by its name on the command line."""

LARGEST = 1_000_000
"""Of any option: beyond it lie modules that no memory holds and factors that no float32 does."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Options of one method; subclasses add fields with the paper's names and defaults.

    Attributes:
        name: the name on the command line.
        source: the paper.
        changes_tokens: whether it alters the number of tokens.
        adds_prompts: whether it puts tokens in front of the patches.
        looks_inside: whether it stands inside timm's `Block` rather than between blocks or in linear layers.
        mergeable: whether `merge` can turn the trained model into plain timm modules.
        former_options: today's name of every renamed option, by its old name, which saved adapters may hold.
        former_defaults: for options that came later than the first saved adapters and changed what the method
            does by default: the value that stands for how those adapters were trained.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    changes_tokens: ClassVar[bool] = False
    adds_prompts: ClassVar[bool] = False
    looks_inside: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    former_options: ClassVar[Mapping[str, str]] = {}
    former_defaults: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                value = tuple(value)  # a list is as good, but a frozen value must not change behind our back
                object.__setattr__(self, field.name, value)
            if not fits(value, hints[field.name]):
                rule = f"it must be {described(hints[field.name])}"
                raise AdapterError(f"{self.name}: {field.name}={value!r}, but {rule}")
            if isinstance(value, numbers.Real) and abs(float(value)) > LARGEST:
                raise AdapterError(f"{self.name}: {field.name}={value:.4g}, but it must be at most {LARGEST:,} in size")
            if isinstance(value, numbers.Integral) and not isinstance(value, int):
                object.__setattr__(self, field.name, int(value))  # NumPy's whole numbers, which JSON does not know
        self.check()

    def check(self) -> None:
        """Check the options, whose types are right already; subclasses override it.

        Raises:
            AdapterError: an option is out of range, or two of them contradict each other.
        """

    def plug(self, model: AdaptedViT) -> None:
        """Add this method's modules to `model`, and unfreeze what it trains of the backbone."""
        raise AdapterError(f"{type(self).__name__} does not say how it is plugged in; override plug(model)")

    @classmethod
    def upgrade(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Options that an earlier version saved → the same model's options under the names and values of today.

        A method whose option became another value, not only another name, overrides it. Asked for saved options
        only: what a user writes has today's names.
        """
        renamed = {cls.former_options.get(key, key): value for key, value in options.items()}
        return {**cls.former_defaults, **renamed}

    @property
    def turn(self) -> int:
        """When it is plugged in: prompts first (0), then what shrinks the grid (1), then what must know the tokens (2)."""
        return 0 if self.adds_prompts else 1 if self.changes_tokens else 2

    def at_least(self, option: str, least: float) -> None:
        """Check an option's lower bound, for use in `check`."""
        value = getattr(self, option)
        if not value >= least:
            raise AdapterError(f"{self.name}: {option}={value}, but it must be at least {least}")

    def at_most(self, option: str, most: float) -> None:
        """Check an option's upper bound, for use in `check`."""
        value = getattr(self, option)
        if not value <= most:
            raise AdapterError(f"{self.name}: {option}={value}, but it must be at most {most:,}")

    def one_of(self, option: str, allowed: tuple[Any, ...]) -> None:
        """Check that an option has one of the allowed values, for use in `check`."""
        value = getattr(self, option)
        if value not in allowed:
            raise unknown(f"{self.name} {option}", value, allowed)

    def fraction(self, option: str) -> None:
        """Check that an option lies in [0, 1), for use in `check`."""
        value = getattr(self, option)
        if not 0 <= value < 1:
            raise AdapterError(f"{self.name}: {option}={value}, but a probability of dropping must lie in [0, 1)")


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
    """
    if not isinstance(text, str):
        raise AdapterError(f"method {text!r} is no text; write name:key=value,key=value")
    name, _, options = text.partition(":")
    cls = _named(name.strip())
    pairs: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in options.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise AdapterError(f"method {text[:80]!r}: option {item[:80]!r} has no value; write name:key=value,key=value")
        if key in cls.former_options:
            now = cls.former_options[key]
            remedy = f"write {cls.name}:{now}={value}"
            raise AdapterError(f"method {text[:80]!r}: the option {key} is now called {now}; {remedy}")
        pairs[key] = value
    return _built(cls, pairs)


def method_from_dict(spec: dict[str, Any]) -> Method:
    """The method that `method_to_dict` wrote as {"name": …, "options": {…}}, by this or an earlier version.

    Options of an earlier version are read as today's (`Method.upgrade`); one that is missing gets the value that
    leaves the saved model what it was, else its default. Values may be text or JSON.

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
        values[key] = _convert(f"{cls.name}:{key}", value, fields[key])
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


def _convert(what: str, value: Any, hint: Any) -> Any:
    """Turn text or a JSON value into the type that a field declares (int, float, bool, str, tuple, or None)."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "None":
            if type(None) in arguments:
                return None
            raise AdapterError(f"{what}: None is not allowed here")
        kinds = [a for a in arguments if a is not type(None)]
        for kind in kinds[:-1]:
            try:
                return _convert(what, value, kind)
            except AdapterError:
                continue
        return _convert(what, value, kinds[-1])
    if origin is tuple:
        items = value.split("/") if isinstance(value, str) else list(value)
        return tuple(_convert(what, item, arguments[0]) for item in items)
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
    raise AdapterError(f"{what}={shown} is not a valid {getattr(hint, '__name__', hint)}; write {described(hint)}")
