"""What adapters make of the timm model that hosts them: blocks that include them, and no walk without them.

The first module at a site gives the backbone, and the first one inside a block gives that block, another
class in place (`take_part`): the same object with the same parameters by the same names, with
`AdaptedBackbone` or `AdaptedBlock` in front of timm's class. So a forward hook on a block, or captum, sees
what really goes in and comes out, adapters inside included, and timm's own walk over the blocks, which knows
nothing of what stands between them, is refused instead of computing something else without a word. Adapters
in a layer's place (LoRA, SSF, RepAdapter) need none of this, and leave every class as it was.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from torch import Tensor, nn

from ..errors import AdapterError
from .layout import Layout

if TYPE_CHECKING:
    from .sites import BlockSites

__all__ = ["AdaptedBackbone", "AdaptedBlock", "plain_kind", "take_part"]


class AdaptedPart(nn.Module):
    """Base of what may stand in front of a timm class. plain: that class."""

    plain: ClassVar[type[nn.Module]]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by timm's class, since a class that is made on demand cannot be imported."""
        return _new, (type(self).__mro__[1], self.plain), self.__dict__.copy()


class AdaptedBlock(AdaptedPart):
    """A block with adapters inside; with every call the engine hands over modules and layout."""

    def forward(self, x: Tensor, *, sites: BlockSites | None = None, layout: Layout | None = None) -> Tensor:
        """(B, N, D) → (B, N, D).

        Raises:
            AdapterError: the call came from elsewhere, without sites and layout.
        """
        if sites is None or layout is None:
            raise AdapterError(
                "a block with adapters inside was called by itself, but only the adapted model knows where "
                "its tokens stand; call the model, or model.run_block(index, x, layout) with x's layout"
            )
        return sites.inside(self, x, layout)


class AdaptedBackbone(AdaptedPart):
    """A backbone with adapters at its blocks: its own walk would leave them out, and is refused."""

    def forward_features(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Raises AdapterError, and so do `forward`, `forward_intermediates` and `get_intermediate_layers`."""
        raise AdapterError(
            "the backbone's own call would leave out the adapters at the sites of its blocks; call the "
            "adapted model in its place: model(x), model.forward_features(x), "
            "model.forward_intermediates(x) or model.get_intermediate_layers(x)"
        )

    forward = forward_intermediates = get_intermediate_layers = forward_features


def take_part(module: nn.Module, part: type[AdaptedPart]) -> None:
    """Put `part` in front of the class of `module`, in place; a second time changes nothing."""
    if not isinstance(module, part):
        module.__class__ = _kind(part, type(module))  # type: ignore[arg-type]  # classes are hashable


def plain_kind(module: nn.Module) -> type[nn.Module]:
    """The class that a module has or, if it takes part in an adapted model, had before."""
    return module.plain if isinstance(module, AdaptedPart) else type(module)


@cache
def _kind(part: type[AdaptedPart], plain: type[nn.Module]) -> type[nn.Module]:
    return type(f"Adapted{plain.__name__}", (part, plain), {"plain": plain, "__doc__": part.__doc__})


def _new(part: type[AdaptedPart], plain: type[nn.Module]) -> nn.Module:
    kind = _kind(part, plain)  # type: ignore[arg-type]  # classes are hashable
    return kind.__new__(kind)
