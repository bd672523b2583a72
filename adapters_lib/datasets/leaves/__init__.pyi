from .drawing import (
    LEAF_FIELDS as LEAF_FIELDS,
    SCENE_FIELDS as SCENE_FIELDS,
    VERSION as VERSION,
    Field as Field,
    draw as draw,
)
from .parameters import (
    HELD_BACK as HELD_BACK,
    JITTER as JITTER,
    N_SPECIES as N_SPECIES,
    SPLITS as SPLITS,
    LeafSample as LeafSample,
    cultivars as cultivars,
    new_species as new_species,
    sample_leaves as sample_leaves,
    sample_wild as sample_wild,
    species as species,
)
from .task import (
    KINDS as KINDS,
    Kind as Kind,
    task_sample as task_sample,
)
