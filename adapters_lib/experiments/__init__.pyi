from .bracketing import (
    Bracket as Bracket,
    bracket as bracket,
    neighbours as neighbours,
    on_ladder as on_ladder,
)
from .carry_over import (
    RankCorrelation as RankCorrelation,
    rank_correlation as rank_correlation,
    real_report as real_report,
)
from .claims import (
    CLAIMS as CLAIMS,
    Claim as Claim,
    Comparison as Comparison,
    compared as compared,
    decide as decide,
    text_of as text_of,
)
from .compare import (
    PairedComparison as PairedComparison,
    hits_of as hits_of,
)
from .exit_study import (
    SETTINGS as SETTINGS,
    mean_block_by_granularity as mean_block_by_granularity,
    run_study as run_study,
)
from .gains import (
    paired_gains as paired_gains,
    said as said,
)
from .grids import (
    ALL_METHODS as ALL_METHODS,
    CLAIMED as CLAIMED,
    COMBINATIONS as COMBINATIONS,
    CURVE_BUDGETS as CURVE_BUDGETS,
    CURVE_METHODS as CURVE_METHODS,
    EQUAL_SIZES as EQUAL_SIZES,
    GRIDS as GRIDS,
    ILA_VARIANTS as ILA_VARIANTS,
    MAIN_METHODS as MAIN_METHODS,
    PADAPTER_VARIANTS as PADAPTER_VARIANTS,
    PHOTOGRAPHS as PHOTOGRAPHS,
    REAL_IMAGES as REAL_IMAGES,
    REAL_METHODS as REAL_METHODS,
    STUDIES as STUDIES,
    VIDEO_VARIANTS as VIDEO_VARIANTS,
    Study as Study,
    both_starts as both_starts,
    swept as swept,
    tuned_methods as tuned_methods,
)
from .learning_curve import (
    BudgetOrder as BudgetOrder,
    budget_orders as budget_orders,
    budget_text as budget_text,
    swapped as swapped,
)
from .needs import (
    inside as inside,
    insides as insides,
    lacking as lacking,
    with_files as with_files,
)
from .plan import (
    ORDER as ORDER,
    ORDERS as ORDERS,
    Job as Job,
    Pace as Pace,
    jobs_of as jobs_of,
    ordered as ordered,
    select as select,
)
from .published_tables import published as published
from .report import (
    FORMATS as FORMATS,
    method_table as method_table,
    render as render,
    stored_table as stored_table,
    update_block as update_block,
)
from .run import (
    Experiment as Experiment,
    OutOfTime as OutOfTime,
    check_time as check_time,
    grid as grid,
    load_task as load_task,
    pack_hits as pack_hits,
    pinned as pinned,
    read_table as read_table,
    run_and_store as run_and_store,
    run_experiment as run_experiment,
    run_folder as run_folder,
    run_grid as run_grid,
    run_missing as run_missing,
    store_row as store_row,
    title as title,
    train as train,
    unpack_hits as unpack_hits,
    work_folder as work_folder,
)
from .run_grids import (
    FOLDER as FOLDER,
    prune as prune,
    remaining as remaining,
    results as results,
    stored as stored,
)
from .side_by_side import (
    copy_shared_runs as copy_shared_runs,
    draw_ahead as draw_ahead,
    queue_of as queue_of,
    run_jobs as run_jobs,
    run_on_gpu as run_on_gpu,
)
from .statistics import (
    Bootstrap as Bootstrap,
    Interval as Interval,
    bootstrap_difference as bootstrap_difference,
    mean_interval as mean_interval,
    paired_difference as paired_difference,
    pareto_front as pareto_front,
    summarise as summarise,
)
from .table import (
    as_frame as as_frame,
    as_text as as_text,
    read_rows as read_rows,
    unpacked as unpacked,
    write_rows as write_rows,
)
from .tune import (
    brackets as brackets,
    choose as choose,
    tune_until_bracketed as tune_until_bracketed,
)
from .versions import (
    OutdatedRows as OutdatedRows,
    budgets_of as budgets_of,
    one_budget as one_budget,
    one_version as one_version,
    precisions_of as precisions_of,
    refuse_mixture as refuse_mixture,
    versions_of as versions_of,
)
