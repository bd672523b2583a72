from .clips import (
    CLIP_KWARGS as CLIP_KWARGS,
    EMBEDDED_CLIPS as EMBEDDED_CLIPS,
    POSITIONS as POSITIONS,
    TubeletEmbed as TubeletEmbed,
    create_clip_backbone as create_clip_backbone,
    create_embedded_clips as create_embedded_clips,
    to_clip_model as to_clip_model,
)
from .create import (
    create_backbone as create_backbone,
    meta_backbone as meta_backbone,
)
from .images import (
    EMBEDDED as EMBEDDED,
    about_embedded as about_embedded,
    create_image_backbone as create_image_backbone,
    embedded_info as embedded_info,
    load_embedded as load_embedded,
)
from .videomae import (
    load_videomae as load_videomae,
    videomae_state as videomae_state,
)
