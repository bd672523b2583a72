"""The grids behind the workbook's tables: which runs each of them asks for, the most wanted first.

Every run trains with the offline recipe (`offline_recipe`), whose learning rates were chosen on other
plants, at the budget of `offline_recipes.BUDGET` (clips: `CLIPS_BUDGET`), in float32 on every machine, and is
evaluated after its last epoch. Test images are the same for every seed: 2,000 leaves, 400 clips.

| grid | what | runs |
|---|---|---|
| learning_curve | eleven methods on the tuning's plants, 450 to 7,200 updates | 11 × 5 × 2 |
| methods | every method on the ultra-fine leaves, with both starts where it has two | 24, ten seeds or five |
| exits | a host, naive exits, all of Dyn-Adapter, each part alone, mixed leaves | 3 × 10 + 10 × 5 |
| padapter | PAdapter's forms, modes, positions and prompts, and baselines | 17, ten seeds or five |
| ila | ILA's positions, number of down-samplings and residual starts | 12 × 5 |
| bottleneck | ADPT, PAdapter, LoRA, ILA++ with bottleneck or rank 4, 16, 64, both starts | 18 × 5 |
| tasks | eight main methods on the coarse and the mixed leaves | 2 × 8 × 5 |
| video | PAdapter's forms and positions, and baselines of its size, on motion leaves | 11 × 5 |
| video_exits | a host, naive exits and all of Dyn-Adapter on motion leaves | 3 × 5 |
| compose | ILA, PAdapter and exits, each in or out, mixed leaves, recipe of exits | 8 × 5 |
| granularity | four methods at five granularities of the ultra-fine leaves | 20 × 5 |
| real | CLIP adapted in twelve ways to photographs of solar cells and apples | 2 × (6 × 5 + 6 × 3) |
| real_images | four of them at 10 to all cells a class, 5 to 27 apples | 4 × 7 × 3 |
| real_224 | `real` at 224 px, for a GPU | 2 × (6 × 5 + 6 × 3) |

The last three need photographs and weights that do not ship with the package, see `needs`; their recipe is
that of `REAL_BUDGETS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..backbones.clips import EMBEDDED_CLIPS
from ..backbones.images import EMBEDDED
from ..datasets.leaves.task import KINDS
from ..datasets.load import DATA_SETS
from ..methods import METHODS
from ..methods.dyn import ALONE
from ..training.offline_recipes import (
    BUDGET,
    CLIPS_BUDGET,
    REAL_BACKBONE,
    REAL_BUDGETS,
    REAL_SIZE,
    offline_recipe,
)
from .exit_study import SETTINGS
from .needs import with_files
from .run import Experiment

__all__ = [
    "ALL_METHODS",
    "CLAIMED",
    "COMBINATIONS",
    "CURVE_BUDGETS",
    "CURVE_METHODS",
    "EQUAL_SIZES",
    "GRIDS",
    "ILA_VARIANTS",
    "MAIN_METHODS",
    "PADAPTER_VARIANTS",
    "PHOTOGRAPHS",
    "REAL_IMAGES",
    "REAL_METHODS",
    "STUDIES",
    "VIDEO_VARIANTS",
    "Study",
    "both_starts",
    "swept",
    "tuned_methods",
]

PRECISION = "no"
"""Of all grids: machines differ in their hardware for bfloat16, and their rows shall stand in one table."""

SEEDS = (0, 1, 2, 3, 4)
MORE_SEEDS = (5, 6, 7, 8, 9)
"""Of what the main claims compare, see `claims`: an interval over ten seeds is little more than half as
wide as one over five."""

TEST_IMAGES, TEST_CLIPS = 100, 25
"""A class: 2,000 images, 400 clips."""

HELD_OUT = 0.43
"""Share of the cells of each class that is held out for testing: 1,128, and of the smallest class all that
50 for training and 10 for validation leave."""

LEAST_PASSES = 5
"""Over however many photographs; over fewer, as many as give the updates of the budget."""


def both_starts(method: str) -> list[str]:
    """The text form, and the same with `start=zero` for a method that has that option and does not start
    so anyway."""
    name, colon, _ = method.partition(":")
    start = {field.name: field.default for field in fields(METHODS[name])}.get("start", "zero")
    return [method] if start == "zero" else [method, f"{method}{',' if colon else ':'}start=zero"]


CURVE_BUDGETS = {450: (30, 3), 900: (60, 3), 1800: (120, 3), 3600: (120, 6), 7200: (240, 6)}
"""Updates at batch 4 on 20 classes → training images a class, passes over them.

More updates come from more images where that is possible, as drawn images cost next to nothing and passes
over few of them overfit (see `offline_recipes.BASE`). 900 updates are the budget that the first tables had.
The schedule depends on the budget, so each is a run of its own.
"""

CURVE_METHODS = (
    "linear",
    *both_starts("adpt"),
    *both_starts("ila++"),
    "lora",
    "full",
    "ila",
    "padapter",
    "adaptformer",
    "adpt:dropout=0,sublayer_dropout=0",
)
"""Those whose order the budget may change: the probe, the papers' methods with either start, what they
compare with most, and ADPT without the dropout of its authors' code, to see what that costs."""

ALL_METHODS = tuple(name for name in METHODS if name != "dyn")
"""In the order of the methods' table; dyn needs a host and has a study of its own (`python -m adapters_lib
exits study`)."""

MAIN_METHODS = ("linear", "full", "vpt-deep", "adpt", "lora", "ila", "ila++", "padapter")
"""The papers' three methods and what they compare with most."""

GRANULARITIES = (0.06, 0.09, 0.12, 0.18, 0.25)

_SWEPT = {"adpt": "bottleneck", "padapter": "bottleneck", "lora": "rank", "ila++": "bottleneck"}

CLAIMED = (
    "linear",
    *both_starts("adpt"),
    "ila",
    *both_starts("ila++"),
    "padapter",
    "adaptformer",
    "pfeiffer",
    "lora",
    "full",
)
"""Those of the grid `methods` that have ten seeds."""

PADAPTER_VARIANTS = {
    "linear probe": "linear",
    "x_p add, p_a_m": "padapter:bottleneck=8",
    "a_p_m": "padapter:bottleneck=8,position=a_p_m",
    "a_m_p": "padapter:bottleneck=8,position=a_m_p",
    "p+a_m": "padapter:bottleneck=8,position=p+a_m",
    "a_p+m": "padapter:bottleneck=8,position=a_p+m",
    "p+b": "padapter:bottleneck=8,position=p+b",
    "x_p cat": "padapter:bottleneck=8,mode=cat",
    "p_x_p add": "padapter:bottleneck=8,form=p_x_p",
    "p_x_p cat": "padapter:bottleneck=8,form=p_x_p,mode=cat",
    "p_2x_p add": "padapter:bottleneck=8,form=p_2x_p",
    "shared prompt, r = 11": "padapter:bottleneck=11,num_tokens=1",
    "prompt frozen at its start": "padapter:bottleneck=8,train_prompt=false",
    "AdaptFormer, r = 16": "adaptformer:bottleneck=16",
    "Pfeiffer, r = 16": "pfeiffer:bottleneck=16",
    **dict(zip(("ADPT, twice r = 8", "ADPT, twice r = 8, start at zero"), both_starts("adpt"), strict=False)),
}
"""Text forms of the ablation by name; bottlenecks such that adapters have about as many parameters
(without those of a frozen prompt)."""

EQUAL_SIZES = (
    "padapter:bottleneck=8",
    "adaptformer:bottleneck=16",
    "pfeiffer:bottleneck=16",
    *both_starts("adpt"),
)
"""Those of the grid `padapter` that have ten seeds: the adapter of the paper and what it is said to beat."""

VIDEO_VARIANTS = {
    "linear probe": "linear",
    "full": "full",
    "VPT-deep": "vpt-deep:prompts=34",
    "ADPT": "adpt",
    "AdaptFormer": "adaptformer:bottleneck=16",
    "LoRA": "lora",
    "PAdapter x_p, a_m_p": "padapter:bottleneck=8,position=a_m_p",
    "PAdapter p_x_p, a_m_p": "padapter:bottleneck=5,form=p_x_p,position=a_m_p",
    "PAdapter p_2x_p, a_m_p": "padapter:bottleneck=4,form=p_2x_p,position=a_m_p",
    "PAdapter x_p, p_a_m": "padapter:bottleneck=8,position=p_a_m",
    "PAdapter x_p, a_p_m": "padapter:bottleneck=8,position=a_p_m",
}
"""Text forms of the comparison on clips by name; all adapters have about 50,000 parameters."""

REAL_MORE = ("linear", "lora", *both_starts("ila++"), "padapter", "adaptformer")
REAL_METHODS: tuple[str | tuple[str, ...], ...] = (
    *REAL_MORE,
    *both_starts("adpt"),
    "ila",
    "vpt-deep",
    ("lora", "dyn"),
    "full",
)
"""Of the grid `real`, with three seeds; those of REAL_MORE have five."""

REAL_IMAGES: dict[str, tuple[int | None, ...]] = {"elpv": (10, 25, 50, None), "apples": (5, 10, 27)}
"""Training images a class of the grid `real_images`; None: all that are not held out. A kind of apple with
fewer gives all it has."""

ILA_VARIANTS = {
    "linear probe": "linear",
    "ADPT": "adpt",
    "ILA (paper): 4 and 8, near one": "ila",
    "ILA+": "ila+",
    "ILA++": "ila++",
    "start at 1/9": "ila:residual_scale=0.1111",
    "average pool": "ila:residual=avgpool",
    "once, after 6": "ila:samplings=1",
    "three times: 3, 6, 9": "ila:samplings=3",
    "earlier: 2 and 6": "ila:after=2/6",
    "later: 6 and 10": "ila:after=6/10",
    "ILA++, start at 1/9": "ila++:residual_scale=0.1111",
}
"""Text forms of ILA's ablation by name: where the modules stand, how often they shrink the grid, and how
their residual starts."""

COMBINATIONS = {
    "linear probe": ("linear",),
    "ILA": ("ila",),
    "PAdapter": ("padapter:bottleneck=8",),
    "ILA × PAdapter": ("ila", "padapter:bottleneck=8"),
    "Dyn": (ALONE,),
    "ILA × Dyn": ("ila", "dyn"),
    "PAdapter × Dyn": ("padapter:bottleneck=8", "dyn"),
    "ILA × PAdapter × Dyn": ("ila", "padapter:bottleneck=8", "dyn"),
}
"""Lists of the three papers' methods by name: each of them in or out."""


@dataclass(frozen=True)
class Study:
    """Runs of `exit_study.run_study`: `main` settings with ten seeds on images, every other one of
    `settings` with five."""

    host: str
    data: str
    settings: tuple[str, ...]
    main: tuple[str, ...] = ("host", "naive", "all")
    backbone: str = EMBEDDED
    validation: int = 50

    def options(self) -> dict[str, Any]:
        """Arguments of `run_study`; validation: images or clips a class, on which the thresholds are
        chosen."""
        options = {**_options(self.data), "n_val": self.validation}
        return {
            "host": self.host,
            "data": self.data,
            "backbone": self.backbone,
            "data_options": options,
            "precision": PRECISION,
        }

    def runs(self) -> list[tuple[str, int]]:
        """(setting, seed), the most wanted first."""
        more = MORE_SEEDS if self.backbone == EMBEDDED else ()
        first = [(setting, seed) for seed in (*SEEDS, *more) for setting in self.main]
        return first + [
            (setting, seed) for seed in SEEDS for setting in self.settings if setting not in self.main
        ]


STUDIES: dict[str, Study] = {
    "exits": Study("lora", "leaves-mixed", tuple(SETTINGS)),
    "video_exits": Study(
        "padapter:bottleneck=8,position=a_m_p",
        "motion-leaves",
        ("host", "naive", "all"),
        backbone=EMBEDDED_CLIPS,
        validation=10,
    ),
}
"""The studies of the exits by the name of their table; naive exits are the control in both."""


def _options(data: str) -> dict[str, Any]:
    """As many images a class as the budget says, without augmentation: the same images in every pass."""
    if data in REAL_BUDGETS:
        held_out = {"test_fraction": HELD_OUT} if data == "elpv" else {}  # apples: a side of the turntable
        return {"augment": None, "n_train": REAL_BUDGETS[data].images, **held_out}
    if DATA_SETS[data].clips:
        return {"augment": None, "n_train": CLIPS_BUDGET.images, "n_test": TEST_CLIPS}
    return {"augment": None, "n_train": BUDGET.images, "n_test": TEST_IMAGES}


def _runs(
    methods: Iterable[str | Sequence[str]],
    data: str = "leaves-ultra",
    data_options: Mapping[str, object] | None = None,
    backbone: str = EMBEDDED,
    exits: bool | None = None,
    seeds: Sequence[int] = SEEDS,
) -> list[Experiment]:
    """Seed by seed, so that an interrupted grid has whole seeds rather than whole methods. exits: as in
    `offline_recipe`."""
    lists = [(m,) if isinstance(m, str) else tuple(m) for m in methods]
    options = {**_options(data), **(data_options or {})}
    recipes = [offline_recipe(m, data=data, exits=exits, mixed_precision=PRECISION) for m in lists]
    return [
        Experiment(
            methods=m, data=data, seed=seed, backbone=backbone, recipe=recipe, data_options=dict(options)
        )
        for seed in seeds
        for m, recipe in zip(lists, recipes, strict=True)
    ]


def _methods() -> list[Experiment]:
    """The claimed ones lead every seed, and have more of them."""
    others = [text for name in ALL_METHODS for text in both_starts(name) if text not in CLAIMED]
    return _runs([*CLAIMED, *others]) + _runs(CLAIMED, seeds=MORE_SEEDS)


def _padapter() -> list[Experiment]:
    texts = list(PADAPTER_VARIANTS.values())
    return _runs(texts) + _runs([text for text in texts if text in EQUAL_SIZES], seeds=MORE_SEEDS)


def swept() -> list[str]:
    """Text forms of the grid `bottleneck`."""
    sizes = [f"{name}:{option}={size}" for name, option in _SWEPT.items() for size in (4, 16, 64)]
    return [text for size in sizes for text in both_starts(size)]


def tuned_methods(data: str = "leaves-ultra", exits: bool = False) -> list[str]:
    """Text forms that have a learning rate of their own, in the order in which they are wanted."""
    if data in REAL_BUDGETS:
        return [method for method in REAL_METHODS if isinstance(method, str)]
    if DATA_SETS[data].clips:
        return list(dict.fromkeys(VIDEO_VARIANTS.values()))
    if exits:
        return ["lora", "linear", "ila", "padapter:bottleneck=8"]
    names = [text for name in ALL_METHODS for text in both_starts(name)]
    return list(dict.fromkeys([*CLAIMED, *names, *swept()]))


def _granularity_option(granularity: float) -> dict[str, float]:
    """The default is left unsaid, so that its runs are the same as those of the grid `methods`."""
    return {} if granularity == KINDS["ultra"].granularity else {"granularity": granularity}


def _curve() -> list[Experiment]:
    """The most telling subsets first: one seed at the budgets between which a choice is likely, then the
    other, then the dearest one."""
    order = [(seed, updates) for seed in (100, 101) for updates in (900, 3600, 1800, 450)] + [
        (100, 7200),
        (101, 7200),
    ]
    runs = []
    for seed, updates in order:
        images, passes = CURVE_BUDGETS[updates]
        options = {"plants": 1, "augment": None, "n_train": images, "n_val": 100}
        for method in CURVE_METHODS:
            recipe = offline_recipe(method, epochs=passes, mixed_precision=PRECISION)
            runs.append(
                Experiment(
                    (method,), "leaves-ultra", seed, data_options=dict(options), recipe=recipe, test=False
                )
            )
    return runs


def _granularity() -> list[Experiment]:
    return [
        run
        for granularity in GRANULARITIES
        for run in _runs(("linear", "adpt", "lora", "ila++"), data_options=_granularity_option(granularity))
    ]


def _photographs(
    methods: Sequence[str | tuple[str, ...]],
    data: str,
    seed: int,
    images: int | None,
    size: int = REAL_SIZE,
) -> list[Experiment]:
    """One run a method with so many training images a class (None: all), for the updates of the budget."""
    budget = REAL_BUDGETS[data]
    passes = max(LEAST_PASSES, round(budget.images * budget.passes / images)) if images else LEAST_PASSES
    options = {**_options(data), "n_train": images}
    return [
        Experiment(
            texts,
            data,
            seed,
            REAL_BACKBONE,
            dict(options),
            offline_recipe(texts, data=data, epochs=passes, mixed_precision=PRECISION),
            image_size=size,
        )
        for texts in ((m,) if isinstance(m, str) else m for m in methods)
    ]


def _real(size: int = REAL_SIZE) -> list[Experiment]:
    """Seed by seed, both sets in each."""
    runs = [
        run
        for seed in SEEDS
        for data, budget in REAL_BUDGETS.items()
        for run in _photographs(
            REAL_METHODS if seed in SEEDS[:3] else REAL_MORE, data, seed, budget.images, size
        )
    ]
    return with_files(runs)


def _real_images() -> list[Experiment]:
    methods = ("linear", "lora", "adpt:start=zero", "ila++:start=zero")
    runs = [
        run
        for seed in SEEDS[:3]
        for data, sizes in REAL_IMAGES.items()
        for images in sizes
        for run in _photographs(methods, data, seed, images)
    ]
    return with_files(runs)


PHOTOGRAPHS = ("real", "real_images", "real_224")
"""Grids that need files from elsewhere."""

GRIDS: dict[str, Callable[[], list[Experiment]]] = {
    "learning_curve": _curve,
    "methods": _methods,
    "padapter": _padapter,
    "ila": lambda: _runs(ILA_VARIANTS.values()),
    "bottleneck": lambda: _runs(swept()),
    "tasks": lambda: [run for data in ("leaves-coarse", "leaves-mixed") for run in _runs(MAIN_METHODS, data)],
    "video": lambda: _runs(VIDEO_VARIANTS.values(), "motion-leaves", backbone=EMBEDDED_CLIPS),
    "compose": lambda: _runs(COMBINATIONS.values(), "leaves-mixed", exits=True),
    "granularity": _granularity,
    "real": _real,
    "real_images": _real_images,
    "real_224": lambda: _real(224),
}
"""Most wanted first. The studies of the exits come after `methods`, see `plan.ORDER`."""
