"""The grids behind the workbook's tables: which runs each of them asks for, the most wanted first.

Every run trains with the offline recipe (`tuning.offline_recipe`), whose learning rates were chosen on other plants, in float32 on every
machine, and is evaluated after its last epoch.

| grid | what | runs |
|---|---|---|
| learning_curve | ten methods on validation images of the tuning's plants, 450 to 7,200 updates | 10 × 5 budgets × 2 seeds |
| methods | every method on the ultra-fine leaves | 20 × 3 seeds |
| tasks | eight main methods on the coarse and the mixed leaves | 2 × 8 × 3 |
| bottleneck | ADPT, PAdapter, LoRA, ILA++ with bottleneck or rank 4, 16, 64 on the ultra-fine leaves | 12 × 3 |
| granularity | four methods at five granularities of the ultra-fine leaves | 20 × 3 |
| padapter | PAdapter's forms, modes and positions on the ultra-fine leaves, beside its baselines of the same size | 14 × 3 |
| video | PAdapter's forms and positions, and its baselines of about as many parameters, on motion leaves | 11 × 3 |
| compose | ILA, PAdapter and exits, each in or out, on the mixed leaves, all with the recipe that goes with exits | 8 × 3 |
| ila | ILA's positions, number of down-samplings and residual starts, five of them in `methods` too | 12 × 3 |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields

from .backbones import EMBEDDED, EMBEDDED_CLIPS
from .data_sets.leaves import KINDS
from .experiments import Experiment
from .methods import METHODS
from .methods.dyn import ALONE
from .tuning import offline_recipe

__all__ = [
    "ALL_METHODS",
    "COMBINATIONS",
    "CURVE_BUDGETS",
    "CURVE_METHODS",
    "GRIDS",
    "ILA_VARIANTS",
    "MAIN_METHODS",
    "PADAPTER_VARIANTS",
    "VIDEO_VARIANTS",
    "both_starts",
]

PRECISION = "no"
"""Of all grids: machines differ in their hardware for bfloat16, and their rows shall stand in one table."""

SEEDS = (0, 1, 2)


def both_starts(method: str) -> list[str]:
    """The text form, and the same with `start=zero` for a method that has that option and does not start so anyway."""
    name, colon, _ = method.partition(":")
    start = {field.name: field.default for field in fields(METHODS[name])}.get("start", "zero")
    return [method] if start == "zero" else [method, f"{method}{',' if colon else ':'}start=zero"]


CURVE_BUDGETS = {450: (30, 3), 900: (60, 3), 1800: (120, 3), 3600: (120, 6), 7200: (240, 6)}
"""Updates at batch 4 on 20 classes → training images a class, passes over them.

More updates come from more images where that is possible, as drawn images cost next to nothing and passes over few of them overfit (see
`tuning.BASE`). 900 updates are the budget that the first tables had. The schedule depends on the budget, so each is a run of its own.
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
)
"""Those whose order the budget may change: the probe, the papers' methods with either start, and what they compare with most."""

ALL_METHODS = tuple(name for name in METHODS if name != "dyn")
"""In the order of the methods' table; dyn needs a host and has a study of its own (`python -m adapters_lib exits study`)."""

MAIN_METHODS = ("linear", "full", "vpt-deep", "adpt", "lora", "ila", "ila++", "padapter")
"""The papers' three methods and what they compare with most."""

GRANULARITIES = (0.06, 0.09, 0.12, 0.18, 0.25)

_SWEPT = {"adpt": "bottleneck", "padapter": "bottleneck", "lora": "rank", "ila++": "bottleneck"}

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
    "AdaptFormer, r = 16": "adaptformer:bottleneck=16",
    "Pfeiffer, r = 16": "pfeiffer:bottleneck=16",
}
"""Text forms of the ablation by name; bottlenecks such that adapters have about as many parameters."""

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
"""Text forms of ILA's ablation by name: where the modules stand, how often they shrink the grid, and how their residual starts."""

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


def _runs(
    methods: Iterable[str | Sequence[str]],
    data: str = "leaves-ultra",
    data_options: Mapping[str, object] | None = None,
    backbone: str = EMBEDDED,
    exits: bool | None = None,
) -> list[Experiment]:
    """Seed by seed, so that an interrupted grid has whole seeds rather than whole methods. exits: as in `offline_recipe`."""
    lists = [(m,) if isinstance(m, str) else tuple(m) for m in methods]
    options = {"augment": None, **(data_options or {})}
    recipes = [offline_recipe(m, data=data, exits=exits) for m in lists]
    return [
        Experiment(methods=m, data=data, seed=seed, backbone=backbone, recipe=recipe, data_options=dict(options))
        for seed in SEEDS
        for m, recipe in zip(lists, recipes, strict=True)
    ]


def _dial(granularity: float) -> dict[str, float]:
    """The default is left unsaid, so that its runs are the same as those of the grid `methods`."""
    return {} if granularity == KINDS["ultra"].granularity else {"granularity": granularity}


def _curve() -> list[Experiment]:
    """The most telling subsets first: one seed at the budgets between which a choice is likely, then the other, then the dearest one."""
    order = [(seed, updates) for seed in (100, 101) for updates in (900, 3600, 1800, 450)] + [(100, 7200), (101, 7200)]
    runs = []
    for seed, updates in order:
        images, passes = CURVE_BUDGETS[updates]
        options = {"plants": 1, "augment": None, "n_train": images, "n_val": 100}
        for method in CURVE_METHODS:
            recipe = offline_recipe(method, epochs=passes, warmup_epochs=passes / 10, mixed_precision=PRECISION)
            runs.append(Experiment((method,), "leaves-ultra", seed, data_options=dict(options), recipe=recipe, test=False))
    return runs


GRIDS: dict[str, Callable[[], list[Experiment]]] = {
    "learning_curve": _curve,
    "methods": lambda: _runs(ALL_METHODS),
    "tasks": lambda: [run for data in ("leaves-coarse", "leaves-mixed") for run in _runs(MAIN_METHODS, data)],
    "bottleneck": lambda: _runs(f"{name}:{option}={size}" for name, option in _SWEPT.items() for size in (4, 16, 64)),
    "granularity": lambda: [run for dial in GRANULARITIES for run in _runs(("linear", "adpt", "lora", "ila++"), data_options=_dial(dial))],
    "padapter": lambda: _runs(PADAPTER_VARIANTS.values()),
    "video": lambda: _runs(VIDEO_VARIANTS.values(), "motion-leaves", backbone=EMBEDDED_CLIPS),
    "compose": lambda: _runs(COMBINATIONS.values(), "leaves-mixed", exits=True),
    "ila": lambda: _runs(ILA_VARIANTS.values()),
}
