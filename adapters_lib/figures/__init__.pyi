from .accuracy import (
    accuracy_against_cost as accuracy_against_cost,
    accuracy_dots as accuracy_dots,
    bottleneck_sweep as bottleneck_sweep,
    differences as differences,
    granularity_sweep as granularity_sweep,
    learning_curves as learning_curves,
    paired_differences as paired_differences,
)
from .attention import (
    attention_distances as attention_distances,
    attention_panels as attention_panels,
    attribution_panels as attribution_panels,
    cka_pairs as cka_pairs,
    rollout_panels as rollout_panels,
)
from .attention_explorer import (
    VIEWS as VIEWS,
    Views as Views,
    attention_views as attention_views,
    explorer_figure as explorer_figure,
)
from .beside_paper import beside_paper as beside_paper
from .classes import (
    class_bars as class_bars,
    confusion_matrix as confusion_matrix,
    feature_scatter as feature_scatter,
    perturbation_areas as perturbation_areas,
    reliability_diagram as reliability_diagram,
    reliability_panel as reliability_panel,
    sanity_curves as sanity_curves,
)
from .clip_samples import clip_sheet as clip_sheet
from .clips import (
    attention_over_time as attention_over_time,
    cat_bias as cat_bias,
    likeness_panel as likeness_panel,
    prompt_norm_maps as prompt_norm_maps,
    prompt_similarity_curves as prompt_similarity_curves,
)
from .combinations import (
    cost_and_accuracy as cost_and_accuracy,
    exit_cost_lines as exit_cost_lines,
    pair_matrix as pair_matrix,
    saved_shares as saved_shares,
)
from .diagrams import (
    DIAGRAMS as DIAGRAMS,
    diagram as diagram,
)
from .exit_board import (
    RIGHT as RIGHT,
    WRONG as WRONG,
    ExitBoard as ExitBoard,
)
from .exit_results import (
    exit_curves as exit_curves,
    exit_settings as exit_settings,
    exit_shares as exit_shares,
)
from .exits import (
    exit_curve as exit_curve,
    exits_by_granularity as exits_by_granularity,
    loss_weights as loss_weights,
    reliability_diagrams as reliability_diagrams,
)
from .map_scores import map_scores as map_scores
from .one_picture import (
    Answer as Answer,
    answer_figure as answer_figure,
    answer_picture as answer_picture,
)
from .paper import (
    FIGURES as FIGURES,
    PaperFigure as PaperFigure,
    command_for as command_for,
    draw as draw,
    load as load,
    video_names as video_names,
)
from .paper_models import (
    attention_distance as attention_distance,
    attention_rollout as attention_rollout,
    attention_similarity as attention_similarity,
    small_adapters as small_adapters,
)
from .parts import (
    caption as caption,
    mark as mark,
    names_beside as names_beside,
    note_beside as note_beside,
    outside_legend as outside_legend,
    points as points,
    sample as sample,
)
from .pretraining import speed_curves as speed_curves
from .results_explorer import (
    EXPORTS as EXPORTS,
    costs_of as costs_of,
    explore as explore,
    export as export,
    read_labelled as read_labelled,
    select as select,
    summary as summary,
    tables as tables,
    versions_note as versions_note,
)
from .samples import (
    contact_sheet as contact_sheet,
    granularity_sheet as granularity_sheet,
)
from .styling import (
    ACCURACIES as ACCURACIES,
    COLUMN as COLUMN,
    COST_AXES as COST_AXES,
    cost_breakdown as cost_breakdown,
    cost_scale as cost_scale,
    image_grid as image_grid,
    look_of as look_of,
    method_style as method_style,
    save as save,
    style as style,
    training_curves as training_curves,
)
from .tuner import (
    KINDS as KINDS,
    Choice as Choice,
    Kind as Kind,
    Point as Point,
    Price as Price,
    cost_curves as cost_curves,
    default_calibration as default_calibration,
    price as price,
    small_run as small_run,
    tuner_figure as tuner_figure,
)
from .wrapping import wrapped as wrapped
