from .cache import ClipCache as ClipCache
from .clips import (
    ClipViews as ClipViews,
    VideoClips as VideoClips,
    clip_cache as clip_cache,
    clips_task as clips_task,
    read_clip as read_clip,
)
from .crops import (
    AUGMENTATIONS as AUGMENTATIONS,
    check_clip_augmentation as check_clip_augmentation,
    multi_scale_crop as multi_scale_crop,
    spatial_view as spatial_view,
)
from .decoding import (
    EXTENSIONS as EXTENSIONS,
    Video as Video,
    VideoError as VideoError,
    check_videos as check_videos,
)
from .lists import (
    READERS as READERS,
    Row as Row,
    VideoList as VideoList,
)
from .motion_leaves import (
    FPS as FPS,
    clip_states as clip_states,
    draw_clip as draw_clip,
)
from .motion_states import (
    MOTIONS as MOTIONS,
    STATE as STATE,
    Motion as Motion,
    motion_parameters as motion_parameters,
    single_frame_features as single_frame_features,
    trajectories as trajectories,
)
from .sampling import ClipSampler as ClipSampler
from .tasks import (
    EXPECTED as EXPECTED,
    Published as Published,
    group_split as group_split,
    sound_samples as sound_samples,
)
from .wild_motion import (
    TOP_SPEED as TOP_SPEED,
    WildClips as WildClips,
    draw_wild_clips as draw_wild_clips,
    roll as roll,
    state_targets as state_targets,
)
from .writing import write_video as write_video
