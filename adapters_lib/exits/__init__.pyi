from .calibrate import (
    CalibrationWarning as CalibrationWarning,
    OperatingPoint as OperatingPoint,
    choose as choose,
    measure as measure,
    operating_points as operating_points,
    quota_thresholds as quota_thresholds,
)
from .controls import (
    cost_curve as cost_curve,
    evaluate_point as evaluate_point,
    fixed_depth_accuracy as fixed_depth_accuracy,
    random_exit_accuracy as random_exit_accuracy,
)
from .costs import (
    ExitCosts as ExitCosts,
    check_exits as check_exits,
    exit_costs as exit_costs,
)
from .policies import (
    POLICIES as POLICIES,
    check_policy as check_policy,
    check_thresholds as check_thresholds,
    confidence as confidence,
    leaves as leaves,
    patience_thresholds as patience_thresholds,
)
from .predict import Prediction as Prediction
from .simulate import (
    StoredExits as StoredExits,
    confidences as confidences,
    store_exits as store_exits,
)
from .stored_files import (
    load_stored as load_stored,
    save_stored as save_stored,
)
