from .clips import (
    POSITIONS as POSITIONS,
    TubeletEmbed as TubeletEmbed,
    create_clip_backbone as create_clip_backbone,
    to_clip_model as to_clip_model,
)
from .create import (
    CLIP_KWARGS as CLIP_KWARGS,
    EMBEDDED as EMBEDDED,
    EMBEDDED_CLIPS as EMBEDDED_CLIPS,
    create_backbone as create_backbone,
    embedded_info as embedded_info,
)
from .videomae import (
    load_videomae as load_videomae,
    videomae_state as videomae_state,
)
