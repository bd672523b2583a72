"""What a method is: a dataclass of options that plugs small modules into an adapted model."""

from __future__ import annotations

import dataclasses
import numbers
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import AdapterError, unknown
from ..options import described, fits

if TYPE_CHECKING:
    from .model import AdaptedViT

__all__ = ["Method"]

LARGEST = 1_000_000
"""Of any option: beyond it lie modules that no memory holds and factors that no float32 does."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """Options of one method; subclasses add fields with the paper's names and defaults.

    Attributes:
        name: the name on the command line.
        source: the paper.
        color, marker: in every figure, as Matplotlib names them; None: `figures.method_style` takes one that
            is free.
        changes_tokens: whether it alters the number of tokens.
        adds_prompts: whether it puts tokens in front of the patches.
        looks_inside: whether it stands inside timm's `Block` rather than between blocks or in linear layers.
        reparameterizes: whether all that it trains is a change of weights that the backbone has already.
        mergeable: whether `merge` can turn the trained model into plain timm modules.
        former_options: today's name of every renamed option, by its old name, which saved adapters may hold.
        former_defaults: for options that came later than the first saved adapters and changed what the method
            does by default: the value that stands for how those adapters were trained.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    color: ClassVar[str | None] = None
    marker: ClassVar[str | None] = None
    changes_tokens: ClassVar[bool] = False
    adds_prompts: ClassVar[bool] = False
    looks_inside: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    reparameterizes: ClassVar[bool] = False
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
                raise AdapterError(
                    f"{self.name}: {field.name}={value:.4g}, but it must be at most {LARGEST:,} in size"
                )
            if isinstance(value, numbers.Integral) and not isinstance(value, int):
                # NumPy's whole numbers, which JSON does not know.
                object.__setattr__(self, field.name, int(value))
        self.check()

    def check(self) -> None:
        """Check the options, whose types are right already; subclasses override it.

        Raises:
            AdapterError: an option is out of range, or two of them contradict each other.
        """

    def attach(self, model: AdaptedViT) -> None:
        """Add this method's modules to `model`, and unfreeze what it trains of the backbone."""
        raise AdapterError(f"{type(self).__name__} does not say how it is attached; override attach(model)")

    def conflicts(self, other: Method) -> str | None:
        """Why this method and `other` do not go together in one list; None if they do. Methods with rules of
        their own override it.

        A pair is asked both ways, so a rule stands in one of the two files.
        """
        return (
            f"{self.name} is listed twice; once, with a larger size, says the same, use that"
            if other.name == self.name
            else None
        )

    @classmethod
    def upgrade(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Options that an earlier version saved → the same model's options under the names and values of
        today.

        A method whose option became another value, not only another name, overrides it. Asked for saved
        options only: what a user writes has today's names.
        """
        renamed = {cls.former_options.get(key, key): value for key, value in options.items()}
        return {**cls.former_defaults, **renamed}

    @property
    def turn(self) -> int:
        """When it is plugged in: prompts first (0), then what shrinks the grid (1), then what must know
        the tokens (2)."""
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
            raise AdapterError(
                f"{self.name}: {option}={value}, but a probability of dropping must lie in [0, 1)"
            )
