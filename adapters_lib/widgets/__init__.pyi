from .attention import AttentionExplorer as AttentionExplorer
from .checkboxes import Checkboxes as Checkboxes
from .exits import (
    ExitThresholds as ExitThresholds,
    exit_thresholds as exit_thresholds,
)
from .granularity import (
    GranularityDial as GranularityDial,
    accuracy_by_granularity as accuracy_by_granularity,
    granularity_runs as granularity_runs,
)
from .panel import FigurePanel as FigurePanel
from .picture_upload import (
    PictureUpload as PictureUpload,
    upload as upload,
)
from .results import ResultsExplorer as ResultsExplorer
from .tuner import BottleneckTuner as BottleneckTuner
