from .attention import (
    AttentionCapture as AttentionCapture,
    attention_layouts as attention_layouts,
    capture_attention as capture_attention,
    check_blocks as check_blocks,
    mean_distance as mean_distance,
    on_image as on_image,
    query_rows as query_rows,
    walker as walker,
)
from .attribution import (
    Attribution as Attribution,
    Forward as Forward,
    TokenAttribution as TokenAttribution,
    exit_forward as exit_forward,
    integrated_gradients as integrated_gradients,
    occlusion as occlusion,
    token_attributions as token_attributions,
)
from .attribution_checks import (
    PerturbationCurves as PerturbationCurves,
    perturbation_curves as perturbation_curves,
    rank_correlation as rank_correlation,
    sanity_check as sanity_check,
    shuffled as shuffled,
    weight_stages as weight_stages,
)
from .cka import (
    MinibatchCKA as MinibatchCKA,
    attention_cka as attention_cka,
    gram as gram,
    unbiased_hsic as unbiased_hsic,
)
from .confusion import (
    Confusion as Confusion,
    confusion_against_distance as confusion_against_distance,
    explain_pair as explain_pair,
    explain_pairs as explain_pairs,
)
from .features import (
    Projection as Projection,
    head_features as head_features,
    neighbour_accuracy as neighbour_accuracy,
    project as project,
)
from .image_report import (
    Report as Report,
    best_temperature as best_temperature,
    parts_table as parts_table,
    practice_folder as practice_folder,
    report as report,
    skipped_table as skipped_table,
)
from .leaf_truth import (
    change_maps as change_maps,
    one_parameter_task as one_parameter_task,
    score_against_truth as score_against_truth,
    truth_mask as truth_mask,
    truth_of as truth_of,
)
from .neighbours import Neighbours as Neighbours, neighbours as neighbours
from .prompts import (
    BlockPrompts as BlockPrompts,
    Similarity as Similarity,
    cat_share as cat_share,
    prompt_norms as prompt_norms,
    prompt_similarity as prompt_similarity,
    prompts_of as prompts_of,
)
from .reliability import Reliability as Reliability
from .rollout import (
    GroupRollout as GroupRollout,
    constant_groups as constant_groups,
    rollout_groups as rollout_groups,
)
