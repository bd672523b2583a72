from . import (
    analysis as analysis,
    backbones as backbones,
    benchmarks as benchmarks,
    costs as costs,
    datasets as datasets,
    exits as exits,
    experiments as experiments,
    figures as figures,
    methods as methods,
    pretraining as pretraining,
    saving as saving,
    training as training,
    vit as vit,
    widgets as widgets,
    workbook as workbook,
)
from ._version import __version__ as __version__
from .analysis.attention import capture_attention as capture_attention
from .analysis.attribution import (
    exit_forward as exit_forward,
    integrated_gradients as integrated_gradients,
    occlusion as occlusion,
    token_attributions as token_attributions,
)
from .analysis.attribution_checks import (
    perturbation_curves as perturbation_curves,
    sanity_check as sanity_check,
)
from .analysis.cka import (
    attention_cka as attention_cka,
    cka as cka,
)
from .analysis.confusion import (
    confusion as confusion,
    explain_pairs as explain_pairs,
)
from .analysis.features import (
    head_features as head_features,
    neighbour_accuracy as neighbour_accuracy,
    project as project,
)
from .analysis.leaf_truth import (
    one_parameter_task as one_parameter_task,
    score_against_truth as score_against_truth,
    truth_of as truth_of,
)
from .analysis.reliability import reliability as reliability
from .analysis.rollout import rollout_groups as rollout_groups
from .backbones.clips import create_clip_backbone as create_clip_backbone
from .backbones.create import create_backbone as create_backbone
from .backbones.videomae import load_videomae as load_videomae
from .costs.cost import (
    Cost as Cost,
    cost as cost,
)
from .costs.latency import (
    compare_latency as compare_latency,
    latency as latency,
)
from .costs.memory import memory_use as memory_use
from .datasets.load import load_data as load_data
from .datasets.task import Task as Task, subset as subset
from .errors import AdapterError as AdapterError
from .exits.calibrate import calibrate as calibrate
from .exits.classify import classify as classify
from .exits.controls import cost_curve as cost_curve
from .exits.costs import exit_costs as exit_costs
from .exits.predict import predict as predict
from .exits.simulate import (
    simulate as simulate,
    store_exits as store_exits,
)
from .experiments.compare import compare as compare
from .experiments.run import (
    Experiment as Experiment,
    grid as grid,
    read_table as read_table,
    run_grid as run_grid,
)
from .experiments.statistics import (
    mean_interval as mean_interval,
    pareto_front as pareto_front,
    summarise as summarise,
)
from .methods import (
    ADPT as ADPT,
    ILA as ILA,
    SSF as SSF,
    VQT as VQT,
    AdapterPlus as AdapterPlus,
    AdaptFormer as AdaptFormer,
    BitFit as BitFit,
    ConvPass as ConvPass,
    DynExits as DynExits,
    FullFineTuning as FullFineTuning,
    Houlsby as Houlsby,
    ILAPlus as ILAPlus,
    ILAPlusPlus as ILAPlusPlus,
    LayerNormTuning as LayerNormTuning,
    LinearProbe as LinearProbe,
    LoRA as LoRA,
    PAdapter as PAdapter,
    Pfeiffer as Pfeiffer,
    RepAdapter as RepAdapter,
    VPTDeep as VPTDeep,
    VPTShallow as VPTShallow,
    parse_method as parse_method,
)
from .methods.adapt import adapt as adapt
from .methods.merge import (
    merge as merge,
    unmerge as unmerge,
)
from .saving.checkpoint import load_pretrained as load_pretrained
from .saving.export import export as export
from .saving.peft_format import (
    export_peft as export_peft,
    import_peft as import_peft,
)
from .training.evaluate import (
    collect_logits as collect_logits,
    evaluate as evaluate,
)
from .training.evaluate_views import evaluate_views as evaluate_views
from .training.features import cache_features as cache_features
from .training.fit import (
    Run as Run,
    fit as fit,
)
from .training.loop import TrainingDiverged as TrainingDiverged
from .training.offline_recipes import offline_recipe as offline_recipe
from .training.published_recipes import recipes as recipes
from .training.recipe import Recipe as Recipe
from .vit.model import AdaptedViT as AdaptedViT
