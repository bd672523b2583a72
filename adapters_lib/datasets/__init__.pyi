from .images.files import read_image as read_image
from .labelled import (
    check_labels as check_labels,
    data_set_of as data_set_of,
    labels_of as labels_of,
)
from .load import (
    DATA_SETS as DATA_SETS,
    DataWarning as DataWarning,
    ImageFiles as ImageFiles,
    Task as Task,
    TensorImages as TensorImages,
    View as View,
    files_digest as files_digest,
    load_data as load_data,
    make_loader as make_loader,
    subset as subset,
)
from .splits import (
    DEFAULT_ROOT as DEFAULT_ROOT,
    OFFLINE_HINT as OFFLINE_HINT,
    Sample as Sample,
    Skipped as Skipped,
    check_counts as check_counts,
    files_task as files_task,
    split_samples as split_samples,
    stratified_split as stratified_split,
    warn_skipped as warn_skipped,
)
from .task import (
    Origin as Origin,
    collate as collate,
)
from .transforms import (
    FILE_AUGMENTATIONS as FILE_AUGMENTATIONS,
    ULTRA_CROP as ULTRA_CROP,
    image_transforms as image_transforms,
    resolve_config as resolve_config,
)
from .unlabelled import (
    Unlabelled as Unlabelled,
    preparation as preparation,
)
from .video.motion_leaves import clip_states as clip_states
from .video.motion_states import (
    MOTIONS as MOTIONS,
    motion_parameters as motion_parameters,
    single_frame_features as single_frame_features,
)
