from .cost import Cost as Cost
from .latency import (
    Comparison as Comparison,
    Latency as Latency,
    compare_latency as compare_latency,
)
from .latency_model import (
    LatencyModel as LatencyModel,
    Measured as Measured,
    calibrate_latency as calibrate_latency,
    fit_latency as fit_latency,
)
from .macs import (
    count_macs as count_macs,
    on_shapes as on_shapes,
)
from .memory import (
    Memory as Memory,
    memory_use as memory_use,
    peak_memory as peak_memory,
)
