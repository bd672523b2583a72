"""The recipes of the workbook's own experiments: one budget, and a learning rate for each method, chosen on
validation images.

The rates stand in `offline_recipes.json`, beside this file; `python -m adapters_lib tune` chooses them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from ..backbones.clips import EMBEDDED_CLIPS
from ..backbones.images import EMBEDDED
from ..datasets.load import DATA_SETS
from ..files import save_json
from ..methods import Method, parse_method
from .recipe import Recipe

__all__ = [
    "BASE",
    "BUDGET",
    "CLIPS",
    "CLIPS_BUDGET",
    "HEAD_LR",
    "REAL_BACKBONE",
    "REAL_BUDGETS",
    "REAL_HEAD_LR",
    "REAL_SIZE",
    "Budget",
    "OfflineRecipe",
    "Setting",
    "offline_recipe",
    "rate_of",
    "rates_of",
    "setting_of",
    "store_rates",
]


@dataclass(frozen=True)
class Budget:
    """How long to train: passes over so many training images (or clips) of each class."""

    images: int
    passes: int

    def __str__(self) -> str:
        return f"{self.passes} passes over {self.images} a class"  # as `versions.budgets_of` says it


BUDGET = Budget(images=120, passes=6)
"""Of every grid of images: 3,600 updates on 20 classes at batch 4. To change it, change this line (see the
grid `learning_curve`)."""

BASE = Recipe(
    epochs=BUDGET.passes,
    lr=3e-3,
    batch_size=4,
    warmup_epochs=BUDGET.passes / 10,
    weight_decay=1e-2,
    mixed_precision="auto",
)
"""The offline default; only the learning rate is chosen for each method. A tenth of the updates warms up.

Few passes over many images rather than many over few: on validation images of other plants (one seed), 30
images a class and 8 epochs at batch 8 gave a linear probe 49.9 % and Houlsby's adapter 61.5 %; 24 epochs
overfit (59.6 %). At 60 images and 3 epochs LoRA reached 53.5 % at batch 8 with 3e-3, 52.6 % with 1e-2, and
59.3 % at batch 4 with 5e-3, for a sixth more time: more updates help, a higher rate alone does not.
"""

HEAD_LR = 3e-2
"""At this rate, the best for a linear probe, the head learns beside every adapter; only the adapter's own
rate is chosen.

With one rate for both, either the head lags behind or the adapter breaks. On validation images of other
plants (`data/results/tuning.csv`, one seed, 800 images, a standard error of 1.8 points), the best rate for
both and the best rate beside such a head: probe 54.3 %, ADPT 53.4 and 65.5 %, PAdapter 58.8 and 64.1 %,
Houlsby 62.8 and 65.1 %, LoRA 58.6 and 58.8 %.
"""

CLIPS_BUDGET = Budget(images=60, passes=6)
"""Of the grids of clips: 1,440 updates on 16 classes at batch 4."""

CLIPS = replace(BASE, epochs=CLIPS_BUDGET.passes, warmup_epochs=CLIPS_BUDGET.passes / 10)
"""The same for clips, of which there are fewer. One rate for adapter and head, chosen on validation clips
of seed 100."""

REAL_BACKBONE, REAL_SIZE = "vit_base_patch16_clip_quickgelu_224", 112
"""Of the grids of photographs: the image tower of OpenAI's CLIP, at 7 × 7 patches."""

REAL_BUDGETS = {"elpv": Budget(images=50, passes=20), "apples": Budget(images=10, passes=20)}
"""Of the grids of photographs, to be changed in this one line: 1,000 updates at batch 4 on four levels of
defect, 1,480 on 30 apples. Passes are many because images are few."""

REAL_HEAD_LR = 3e-3
"""The head's rate beside every adapter on photographs: that of the probe, so tune `linear` first and set it
to what is chosen."""

_FILE = "offline_recipes.json"


class OfflineRecipe(Recipe):
    """A recipe whose learning rate was chosen on the backbone `tuned_for`; training another one with it
    warns."""

    tuned_for: ClassVar[str] = EMBEDDED


class _ClipsRecipe(OfflineRecipe):
    tuned_for = EMBEDDED_CLIPS


class _RealRecipe(OfflineRecipe):
    tuned_for = REAL_BACKBONE


_RECIPES = {kind.tuned_for: kind for kind in (OfflineRecipe, _ClipsRecipe, _RealRecipe)}


@dataclass(frozen=True)
class Setting:
    """What rates are chosen for: their name in the file, the recipe and the budget that they go with, and
    where they are tried.

    head_lr: the rate of the head, None for that of the adapter. validation: images of all classes. data: a
    set of photographs, "" for what is drawn. image_size: pixels, None for the backbone's own.
    """

    kind: str
    base: Recipe
    budget: Budget
    head_lr: float | None = None
    backbone: str = EMBEDDED
    validation: int = 2000
    data: str = ""
    image_size: int | None = None

    @property
    def data_options(self) -> dict[str, Any]:
        """Plants, or clips, that no reported result stands on; of photographs, those of a split of its
        own."""
        if self.data:
            more = {"n_val": self.validation // 4} if self.data == "elpv" else {}
            return {"augment": None, "n_train": self.budget.images, **more}
        if self.backbone == EMBEDDED_CLIPS:
            return {"augment": None, "n_train": self.budget.images, "n_val": self.validation // 16}
        return {"plants": 1, "augment": None, "n_train": self.budget.images, "n_val": self.validation // 20}

    def recipe(self, **changes: Any) -> Recipe:
        """The base with some fields changed, the head at its rate unless `changes` says otherwise."""
        values = replace(self.base, **changes)
        kind = _RECIPES[self.backbone]
        base = kind(**{field.name: getattr(values, field.name) for field in fields(Recipe)})
        if self.head_lr is None or "head_lr_scale" in changes:
            return base
        return replace(base, head_lr_scale=float(f"{self.head_lr / base.lr:.6g}"))


def setting_of(data: str, exits: bool = False) -> Setting:
    """Exits bring heads of many layers, which learn at the rate of their host."""
    if data in REAL_BUDGETS:
        budget = REAL_BUDGETS[data]
        base = replace(BASE, epochs=budget.passes, warmup_epochs=budget.passes / 10)
        return Setting(
            "lr_real",
            base,
            budget,
            None if exits else REAL_HEAD_LR,
            REAL_BACKBONE,
            validation=200 if data == "elpv" else 139,
            data=data,
            image_size=REAL_SIZE,
        )
    if DATA_SETS[data].clips:
        return Setting("lr_clips", CLIPS, CLIPS_BUDGET, backbone=EMBEDDED_CLIPS, validation=400)
    return Setting("lr_exits", BASE, BUDGET) if exits else Setting("lr", BASE, BUDGET, HEAD_LR)


def offline_recipe(
    methods: str | Sequence[str], *, data: str = "leaves-ultra", exits: bool | None = None, **changes: Any
) -> Recipe:
    """The recipe for a method on the offline default: `BASE`, or `CLIPS`, with the learning rate chosen on
    validation data.

    The head learns at `HEAD_LR` (on photographs `REAL_HEAD_LR`), except for clips and beside exits, where one
    rate holds for all. Training another backbone than the one that the rate was chosen on warns.

    methods: text form. Options with a rate of their own in the file, e.g. a wide bottleneck, get it, all
    others that of the method's name, and a method that was never tuned that of `BASE`. A list gets the
    smallest rate of its members, as the most delicate one decides. dyn has none of its own: its heads learn
    at the host's rate, alone at the probe's. data: a set of images or of clips; one of
    `REAL_BUDGETS` gets the recipe for CLIP. exits: the recipe that goes
    with exits, e.g. for a comparison with them; default: if dyn is in the list. changes: other fields, e.g.
    seed; a tenth of other `epochs` warms up unless `warmup_epochs` says otherwise.

    Examples:
        >>> recipe = al.offline_recipe("lora", epochs=2)  # the rest as chosen on validation images
        >>> recipe.epochs, recipe.lr > 0
        (2, True)
    """
    members = [parse_method(method) for method in ([methods] if isinstance(methods, str) else methods)]
    hosts = [member for member in members if member.name != "dyn"]
    setting = setting_of(data, len(hosts) < len(members) if exits is None else exits)
    rates = rates_of(setting.kind)
    lr = min(rate_of(host, rates, setting.base.lr) for host in hosts or [parse_method("linear")])
    warmup = (
        {"warmup_epochs": changes["epochs"] / 10}
        if "epochs" in changes and "warmup_steps" not in changes
        else {}
    )
    return setting.recipe(**{"lr": lr, **warmup, **changes})


def rates_of(kind: str) -> dict[str, float]:
    """Text form of a method → the learning rate that was chosen for it; `kind` as in `Setting`."""
    text = resources.files("adapters_lib.training").joinpath(_FILE).read_text()
    return dict(json.loads(text)[kind])


def rate_of(method: Method, rates: Mapping[str, float], otherwise: float) -> float:
    """The rate stored for these very options, in whatever order they are written, else that of the name."""
    # Reading a text form takes milliseconds.
    alike = (text for text in rates if text.startswith(f"{method.name}:"))
    exact = (rates[text] for text in alike if parse_method(text) == method)
    return next(exact, rates.get(method.name, otherwise))


def store_rates(setting: Setting, chosen: Mapping[str, float]) -> None:
    """Put the rates into the package's file, each with the budget at which it was chosen."""
    path = Path(str(resources.files("adapters_lib.training"))) / _FILE
    known: dict[str, Any] = json.loads(path.read_text())
    budgets = {kind: dict(of) for kind, of in known.get("chosen_at", {}).items()}
    budgets.setdefault(setting.kind, {}).update(dict.fromkeys(chosen, str(setting.budget)))
    rates = dict(sorted({**known.get(setting.kind, {}), **chosen}.items()))
    save_json(path, {**known, setting.kind: rates, "chosen_at": budgets})
