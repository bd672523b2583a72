from .decode import bench_decode as bench_decode
from .exits import (
    HALF as HALF,
    bench_exits as bench_exits,
    drawn_thresholds as drawn_thresholds,
    spread_shares as spread_shares,
    time_curve as time_curve,
    time_thresholds as time_thresholds,
    timing_sample as timing_sample,
)
from .exported import bench_exported as bench_exported
from .latency import (
    BARE as BARE,
    latency_table as latency_table,
    step_table as step_table,
)
from .methods import (
    adapted_copy as adapted_copy,
    bench_device as bench_device,
    bench_inference as bench_inference,
    bench_methods as bench_methods,
    bench_training as bench_training,
)
from .targets import (
    FLOOR as FLOOR,
    PEFT as PEFT,
)
from .video import bench_video as bench_video
