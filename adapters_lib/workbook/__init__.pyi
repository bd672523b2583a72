from .ablations import ablation as ablation
from .copying import (
    Copied as Copied,
    copy_workbook as copy_workbook,
)
from .pictures import PICTURES as PICTURES, sharp_picture as sharp_picture, sharp_pictures as sharp_pictures
from .quick import pick as pick
from .reference import build_reference as build_reference
from .run import (
    FIRST_CELL as FIRST_CELL,
    LIMIT_MB as LIMIT_MB,
    Ran as Ran,
    execute as execute,
    first_cell as first_cell,
    repository as repository,
    run_notebooks as run_notebooks,
)
from .sentences import (
    beside_papers as beside_papers,
    interval_said as interval_said,
    say as say,
)
from .site import (
    Page as Page,
    build as build,
    render as render,
)
from .tables import (
    budget_note as budget_note,
    comparable as comparable,
    method_runs as method_runs,
    rates_tried as rates_tried,
)
