from .architecture import (
    describe as describe,
    differences as differences,
    options_of as options_of,
)
from .class_names import check_names as check_names
from .exit_heads import (
    ExitHead as ExitHead,
    head_parameters as head_parameters,
    hidden_width as hidden_width,
)
from .exits import (
    exit_blocks as exit_blocks,
    exit_logits as exit_logits,
    run_exits as run_exits,
    with_all_exits as with_all_exits,
)
from .frozen import (
    blocks_digest as blocks_digest,
    difference as difference,
    frozen_digest as frozen_digest,
    frozen_print as frozen_print,
    tensor_digest as tensor_digest,
)
from .heads import (
    HEADS as HEADS,
    make_head as make_head,
)
from .host import (
    AdaptedBackbone as AdaptedBackbone,
    AdaptedBlock as AdaptedBlock,
    plain_kind as plain_kind,
    take_part as take_part,
)
from .inputs import (
    image_size_of as image_size_of,
    input_shape as input_shape,
    probe_images as probe_images,
    vit_of as vit_of,
)
from .layout import Layout as Layout
from .method import Method as Method
from .model import AdaptedViT as AdaptedViT
from .modes import (
    device_name as device_name,
    evaluating as evaluating,
    exact_float32 as exact_float32,
    on_device as on_device,
    unfused_if_slower as unfused_if_slower,
)
from .objective import (
    Criterion as Criterion,
    Objective as Objective,
)
from .sites import (
    SITES as SITES,
    Adapter as Adapter,
    AttentionReader as AttentionReader,
    BlockSites as BlockSites,
    LinearAdapter as LinearAdapter,
    first_outputs as first_outputs,
)
