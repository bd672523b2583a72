from .evaluate import (
    collect_logits as collect_logits,
    forward_on as forward_on,
    score as score,
)
from .features import (
    DEFAULT_LIMIT as DEFAULT_LIMIT,
    Features as Features,
    TooLarge as TooLarge,
    cache_features as cache_features,
    measure_cache_speedup as measure_cache_speedup,
    why_not_cacheable as why_not_cacheable,
)
from .fit import (
    Recipe as Recipe,
    Run as Run,
    TrainingDiverged as TrainingDiverged,
)
from .loop import (
    Loop as Loop,
    Row as Row,
    epoch_batches as epoch_batches,
    has_batch_norm as has_batch_norm,
    make_accelerator as make_accelerator,
)
from .offline_recipes import (
    BASE as BASE,
    BUDGET as BUDGET,
    CLIPS as CLIPS,
    CLIPS_BUDGET as CLIPS_BUDGET,
    HEAD_LR as HEAD_LR,
    REAL_BACKBONE as REAL_BACKBONE,
    REAL_BUDGETS as REAL_BUDGETS,
    REAL_HEAD_LR as REAL_HEAD_LR,
    REAL_SIZE as REAL_SIZE,
    Budget as Budget,
    OfflineRecipe as OfflineRecipe,
    Setting as Setting,
    offline_recipe as offline_recipe,
    rates_of as rates_of,
    setting_of as setting_of,
    store_rates as store_rates,
)
from .own_backbone import recipe_for as recipe_for
from .published_recipes import (
    PRESETS as PRESETS,
    Preset as Preset,
    named_recipe as named_recipe,
    recipes as recipes,
)
from .recipe import (
    Schedule as Schedule,
    make_criterion as make_criterion,
    make_optimizer as make_optimizer,
    make_schedule as make_schedule,
)
