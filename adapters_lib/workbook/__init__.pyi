from .ablations import (
    ablation as ablation,
    budget_note as budget_note,
)
from .pictures import sharp_pictures as sharp_pictures, sharp_png as sharp_png
from .quick import pick as pick
from .run import (
    FIRST_CELL as FIRST_CELL,
    LIMIT_MB as LIMIT_MB,
    Ran as Ran,
    execute as execute,
    repository as repository,
    run_notebooks as run_notebooks,
)
from .site import (
    Page as Page,
    build as build,
    render as render,
)
