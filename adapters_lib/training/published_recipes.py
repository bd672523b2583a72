"""The published recipes, by name: `al.recipes.ila_paper`, `al.recipes.padapter_image_paper(batch_size=64)`, …

A preset is a frozen `Recipe`; where the paper scales its learning rate with the batch, it is a function of
the batch size that returns one: lr = base rate · images per update / 256. Other fields change with
`dataclasses.replace(al.recipes.ila_paper, lr=0.1)`, or as keywords of the function. `PRESETS[name].head` is
the classifier that the recipe goes with: `al.adapt(…, head=PRESETS["ila_paper"].head)`.

What no preset can say: the rates in `PRESETS[name].rates` are the candidates from which the paper picks on a
validation split, and the recipe holds one of them. Three things are this library's for all of them: biases
and norms do not decay; the rate changes with every update, also where the code (of VPT, VQT, RepAdapter,
ConvPass, Adapter+, SSF) changes it once an epoch; and the last epoch counts, never the best on test images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import AdapterError, unknown
from .recipe import Recipe

__all__ = ["PRESETS", "Preset", "named_recipe", "recipes"]

RecipeMaker = Callable[..., Recipe]


@dataclass(frozen=True)
class Preset:
    """A published recipe and where it is from.

    value: the recipe, or the function of the batch size. methods: text forms of the methods that it is for.
    rates: candidates for lr (for a function: for base_lr). head: the classifier that goes with it and how it
    starts, see `heads.make_head`. note: what is not published, or not here.
    """

    value: Recipe | RecipeMaker
    methods: tuple[str, ...]
    source: str
    rates: tuple[float, ...] = ()
    head: str = "linear"
    note: str = ""

    @property
    def recipe(self) -> Recipe:
        """The recipe itself; of a function, at its default batch size."""
        return self.value if isinstance(self.value, Recipe) else self.value()


def named_recipe(name: str, **changes: Any) -> Recipe:
    """The recipe of that name, some fields changed; `batch_size` changes a rate that follows it, too.

    Raises:
        AdapterError: unknown name (the nearest is suggested), or a value that breaks its rule.
    """
    if name not in PRESETS:
        raise unknown("recipe", name, PRESETS)
    value = PRESETS[name].value
    return replace(value, **changes) if isinstance(value, Recipe) else value(**changes)


def _scaled(base_lr: float, batch_size: int, processes: int, changes: dict[str, Any]) -> Recipe:
    """A recipe with lr = base_lr · images per update / 256."""
    if processes < 1:
        raise AdapterError(f"processes={processes}: at least one process trains")
    images = batch_size * processes * changes.get("accumulate", 1)
    return Recipe(batch_size=batch_size, **{"lr": base_lr * images / 256, **changes})


def _moco_like(epochs: int, warmup: int) -> RecipeMaker:
    def make(batch_size: int = 64, *, base_lr: float = 0.1, processes: int = 1, **changes: Any) -> Recipe:
        """SGD with momentum, no weight decay, linear warm-up from 0, half a cosine to 0.

        lr = base_lr · images per update / 256
        """
        fixed: dict[str, Any] = {"epochs": epochs, "warmup_epochs": warmup, "warmup_lr": 0.0}
        fixed |= {"optimizer": "momentum", "weight_decay": 0.0}
        return _scaled(base_lr, batch_size, processes, {**fixed, **changes})

    return make


def _prompt_like(base_lr: float, batch_size: int) -> RecipeMaker:
    default_lr, default_batch = base_lr, batch_size

    def make(
        batch_size: int = default_batch, *, base_lr: float = default_lr, processes: int = 1, **changes: Any
    ) -> Recipe:
        """SGD with momentum, 100 epochs of which 10 warm up from 0, cosine to 0.

        lr = base_lr · images per update / 256
        """
        fixed: dict[str, Any] = {"epochs": 100, "warmup_epochs": 10, "warmup_lr": 0.0}
        fixed |= {"optimizer": "momentum", "weight_decay": 1e-4}
        return _scaled(base_lr, batch_size, processes, {**fixed, **changes})

    return make


_ILA = Recipe(
    epochs=50,
    lr=0.03,
    batch_size=8,
    weight_decay=0.0,
    optimizer="sgd",
    warmup_steps=500,
    warmup_lr=1e-6,
    warmup_prefix=False,
    min_lr=1e-5,
    clip_norm=1.0,
    mixed_precision="auto",
)
_ILA_RATES = (0.3, 0.1, 0.03, 0.01, 0.003)
_ILA_SOURCE = "Rios et al. 2024, arXiv:2409.11051, and its code"

_VTAB = Recipe(epochs=100, lr=1e-3, batch_size=64, weight_decay=1e-4, optimizer="adamw", warmup_epochs=10)
"""AdamW on 1,000 images, with which most papers on parameter-efficient tuning train on VTAB-1k."""

_ADAPTER_PLUS = replace(_VTAB, warmup_lr=1e-5, min_lr=1e-6, drop_path=0.1)
_ADAPTER_PLUS_SOURCE = "Steitz & Roth 2024, arXiv:2406.06820, and its code"

_TIMM_VTAB = replace(_VTAB, warmup_lr=1e-6, warmup_prefix=False, min_lr=1e-5, drop_path=0.1)
"""The same of RepAdapter's and ConvPass's code, with timm's schedule and stochastic depth in the backbone."""

_PADAPTER_SOURCE = "Li et al. 2025, Image and Vision Computing 154, 105395, and its code"
_PADAPTER_NOTE = "epochs, warm-up and base rate are not published: these are AdaptFormer's, the likely ones"
_CLIP_NOTE = "the code drops the pre-trained final norm: create_clip_backbone(…, fresh_norm=True)"

_FINE_RATES = (50.0, 25.0, 10.0, 5.0, 2.5, 1.0, 0.5, 0.25, 0.1, 0.05)

PRESETS: dict[str, Preset] = {
    "ila_paper": Preset(
        _ILA,
        ("ila:sublayer_dropout=0.1", "ila+:sublayer_dropout=0.1", "ila++"),
        _ILA_SOURCE,
        rates=_ILA_RATES,
        head="linear_xavier",
        note=(
            "ImageNet-21k ViT-B/16 at 224 or 448; square resize to 1.34 × size, random crop and flip; lr"
            " picked on the validation split; the code drops 0.1 of what frozen attention and MLP add, which"
            " ila and ila+ leave out unless the option says so"
        ),
    ),
    "adpt_paper": Preset(
        _ILA,
        ("adpt", "convpass:class_token=true", "vqt:class_token=true"),
        _ILA_SOURCE,
        rates=_ILA_RATES,
        head="linear_xavier",
        note=(
            "trained as ila in that paper, its dropout of frozen attention and MLP too, which only adpt and"
            " ila have here"
        ),
    ),
    "dyn_paper": Preset(
        _VTAB,
        ("lora + dyn", "adpt + dyn", "repadapter + dyn"),
        "Zhang et al. 2024, arXiv:2407.14302",
        note="not published: this is the usual recipe of its hosts on VTAB-1k, our choice",
    ),
    "padapter_image_paper": Preset(
        _moco_like(100, 20),
        ("padapter",),
        _PADAPTER_SOURCE,
        head="bn_linear_bias",
        note=_PADAPTER_NOTE,
    ),
    "padapter_video_paper": Preset(
        _moco_like(90, 10),
        ("padapter:position=a_m_p",),
        _PADAPTER_SOURCE,
        head="bn_linear",
        note=f"{_PADAPTER_NOTE}; {_CLIP_NOTE}",
    ),
    "adaptformer_paper": Preset(
        _moco_like(100, 20),
        ("adaptformer",),
        "Chen et al. 2022, arXiv:2205.13535, and its code",
        head="bn_linear_bias",
        note="1,024 images per update there",
    ),
    "adaptformer_video_paper": Preset(
        _moco_like(90, 10),
        ("adaptformer",),
        "Chen et al. 2022, arXiv:2205.13535, and its code",
        head="bn_linear",
        note=f"1,024 clips per update there; {_CLIP_NOTE}",
    ),
    "vpt_paper": Preset(
        _prompt_like(5.0, 64),
        ("vpt-deep", "vpt-shallow", "linear"),
        "Jia et al. 2022, arXiv:2203.12119, and its code",
        rates=_FINE_RATES,
        head="linear_kaiming",
        note="weight decay picked as well, from 0.01, 0.001, 0.0001 and 0; prompts are 1 to 200, by data set",
    ),
    "vqt_paper": Preset(
        _prompt_like(0.1, 128),
        ("vqt",),
        "Tu et al. 2023, arXiv:2212.03220, and its code",
        rates=_FINE_RATES,
        head="linear_kaiming",
        note="weight decay picked as in vpt_paper",
    ),
    "lora_vtab": Preset(
        _ADAPTER_PLUS,
        ("lora",),
        _ADAPTER_PLUS_SOURCE,
        head="linear_timm",
        note="LoRA's own paper trains language models; this is how vision papers train it on VTAB-1k",
    ),
    "adapter_plus_paper": Preset(
        _ADAPTER_PLUS,
        ("adapter+", "houlsby", "pfeiffer"),
        _ADAPTER_PLUS_SOURCE,
        head="linear_timm",
        note=(
            'pfeiffer here is what the code calls "intermediate", y + A(y) of the output y of the MLP; the'
            ' one that it calls "pfeiffer" is another module: with its own norm, it reads y plus the stream;'
            " the code leaves out the adapters of houlsby and pfeiffer at the same rate, here only the"
            " backbone's attention and MLP"
        ),
    ),
    "repadapter_paper": Preset(
        _TIMM_VTAB,
        ("repadapter",),
        "Luo et al. 2023, arXiv:2302.08106, and its code",
        note="scale picked by task; the code's extra penalty on the up-projections is not here",
    ),
    "convpass_paper": Preset(
        _TIMM_VTAB,
        ("convpass",),
        "Jie & Deng 2022, arXiv:2207.07039, and its code",
        note=(
            "scale picked by task from 0.01 to 100; the code leaves out its bypasses at the same rate, "
            "here only the backbone's attention and MLP"
        ),
    ),
    "ssf_paper": Preset(
        Recipe(
            epochs=100,
            lr=1e-2,
            batch_size=64,
            weight_decay=5e-2,
            warmup_epochs=10,
            warmup_lr=1e-7,
            warmup_prefix=False,
            min_lr=1e-8,
            label_smoothing=0.1,
            mixed_precision="auto",
        ),
        ("ssf",),
        "Lian et al. 2022, arXiv:2210.08823, and its code",
        head="linear_timm",
        note=(
            "as for CUB-200; other data sets have their own lr and weight decay; not here: the code's average"
            " of weights over time, ten more epochs at min_lr, and mixed images (mixup=0.8, cutmix=1.0)"
        ),
    ),
}
"""Every published recipe by its name in `al.recipes`."""


class _Recipes:
    """Every published recipe as an attribute: a `Recipe`, or a function of the batch size that returns
    one."""

    def __getattr__(self, name: str) -> Recipe | RecipeMaker:
        if name not in PRESETS:
            raise AttributeError(
                f"al.recipes has no recipe {name!r}; the published ones are {', '.join(PRESETS)}"
            )
        return PRESETS[name].value

    def __dir__(self) -> list[str]:
        return sorted(PRESETS)


recipes = _Recipes()
"""`al.recipes.ila_paper`, `al.recipes.padapter_image_paper(batch_size=64)`, …"""
