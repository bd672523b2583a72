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
from .sentences import (
    beside_papers as beside_papers,
    interval_said as interval_said,
    rows_said as rows_said,
    say as say,
)
from .site import (
    Page as Page,
    build as build,
    render as render,
)
