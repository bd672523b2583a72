"""Parameter-efficient adapters for frozen vision transformers: a small library and a workbook.

import adapters_lib as al
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from .training import recipe as recipes
    from .methods.adapt import adapt
    from .analysis.attention import capture_attention
    from .analysis.attribution import exit_forward, integrated_gradients, occlusion, token_attributions
    from .analysis.attribution_checks import perturbation_curves, sanity_check
    from .analysis.cka import attention_cka, cka
    from .analysis.confusion import confusion, explain_pairs
    from .analysis.features import head_features, neighbour_accuracy, project
    from .analysis.leaf_truth import one_parameter_task, score_against_truth, truth_of
    from .analysis.reliability import reliability
    from .analysis.rollout import rollout_groups
    from .backbones.create import create_backbone
    from .saving.checkpoint import load_pretrained
    from .experiments.compare import compare
    from .costs.cost import Cost, cost
    from .datasets.load import Task, load_data, subset
    from .vit.model import AdaptedViT
    from .errors import AdapterError
    from .training.evaluate import collect_logits
    from .exits.calibrate import calibrate
    from .exits.controls import cost_curve
    from .exits.costs import exit_costs
    from .exits.predict import predict
    from .exits.simulate import simulate, store_exits
    from .experiments.run import Experiment, grid, read_table, run_grid
    from .training.features import cache_features
    from .costs.memory import memory_use
    from .methods.merge import merge, unmerge
    from .methods import (
        ADPT,
        ILA,
        SSF,
        VQT,
        AdapterPlus,
        AdaptFormer,
        BitFit,
        ConvPass,
        DynExits,
        FullFineTuning,
        Houlsby,
        ILAPlus,
        ILAPlusPlus,
        LayerNormTuning,
        LinearProbe,
        LoRA,
        PAdapter,
        Pfeiffer,
        RepAdapter,
        VPTDeep,
        VPTShallow,
        parse_method,
    )
    from .saving.peft_format import export_peft, import_peft
    from .experiments.statistics import mean_interval, pareto_front, summarise
    from .costs.latency import compare_latency, latency
    from .training.fit import Recipe, Run, TrainingDiverged, evaluate, fit
    from .experiments.tune import offline_recipe
    from .backbones.clips import create_clip_backbone
    from .backbones.videomae import load_videomae
    from .training.evaluate_views import evaluate_views

# Where the public names live. They are imported on first use, so that `python -m adapters_lib --help` does not wait for torch.
_PUBLIC = {
    "adapting": "adapt",
    "analysis.attention": "capture_attention",
    "analysis.attribution": "exit_forward integrated_gradients occlusion token_attributions",
    "analysis.attribution_checks": "perturbation_curves sanity_check",
    "analysis.cka": "attention_cka cka",
    "analysis.confusion": "confusion explain_pairs",
    "analysis.features": "head_features neighbour_accuracy project",
    "analysis.leaf_truth": "one_parameter_task score_against_truth truth_of",
    "analysis.reliability": "reliability",
    "analysis.rollout": "rollout_groups",
    "backbones": "create_backbone",
    "checkpoint": "load_pretrained",
    "comparing": "compare",
    "costs": "Cost cost",
    "data_sets": "Task load_data subset",
    "engine": "AdaptedViT",
    "errors": "AdapterError",
    "evaluation": "collect_logits",
    "exits.calibration": "calibrate",
    "exits.controls": "cost_curve",
    "exits.costs": "exit_costs",
    "exits.prediction": "predict",
    "exits.simulation": "simulate store_exits",
    "experiments": "Experiment grid read_table run_grid",
    "features": "cache_features",
    "memory": "memory_use",
    "merging": "merge unmerge",
    "methods": (
        "AdapterPlus AdaptFormer ADPT BitFit ConvPass DynExits FullFineTuning Houlsby ILA ILAPlus ILAPlusPlus "
        "LayerNormTuning LinearProbe LoRA PAdapter Pfeiffer RepAdapter SSF VPTDeep VPTShallow VQT parse_method"
    ),
    "peft_format": "export_peft import_peft",
    "statistics": "mean_interval pareto_front summarise",
    "timing": "compare_latency latency",
    "training": "Recipe Run TrainingDiverged evaluate fit",
    "tuning": "offline_recipe",
    "video": "create_clip_backbone",
    "videomae": "load_videomae",
    "view_evaluation": "evaluate_views",
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}

_MODULES = ("recipes",)  # al.recipes.ila_paper, …

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
