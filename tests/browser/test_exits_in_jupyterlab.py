"""The sliders of the exits, operated by keyboard in JupyterLab: by budget, by single thresholds, with
another confidence."""

from lab import Notebook

CELL = """\
import torch

import adapters_lib as al
from adapters_lib.exits.costs import ExitCosts
from adapters_lib.exits.simulate import StoredExits
from adapters_lib.widgets import exit_thresholds

macs = (108_000_000, 212_000_000, 316_000_000, 420_000_000)
costs = ExitCosts((3, 6, 9, 12), macs, macs, macs[-1], (5, 5, 3, 3))
task = al.load_data("leaves-mixed", n_train=1, n_val=10, n_test=10)
labels = task.test.labels
truth = torch.nn.functional.one_hot(labels, 20).float()
dice = torch.Generator().manual_seed(0)
sure = range(3, 7)
val, test = (
    StoredExits(torch.stack([k * truth + torch.randn(200, 20, generator=dice) for k in sure]), labels, costs)
    for _ in range(2)
)
exit_thresholds(test, task.test.images, val, title="made-up logits of synthetic leaves")"""

NAME = "exits"
CELLS = [CELL]


def test_the_sliders_of_the_exits_move_the_figure_and_its_numbers(notebook: Notebook) -> None:
    assert notebook.state()["errors"] == []
    assert notebook.state()["stderr"] == []
    panel = notebook.panel("budget (MACs / full depth)")
    panel.shoot("before")
    with panel.redraws():
        panel.slide("budget (MACs / full depth)", "ArrowRight", 5)
    panel.shoot("budget")
    with panel.redraws():
        panel.choose("confidence")
    panel.press("each threshold")
    with panel.redraws():
        panel.slide("threshold behind block 3 (0–1)", "Home")
    panel.wait_for_text("100 % behind block 3")  # at threshold 0 all leave
    with panel.redraws():
        panel.slide("threshold behind block 3 (0–1)", "End")
    panel.wait_for_text("leaving: 0 % behind block 3")
    panel.shoot("thresholds")
    assert notebook.complaints == []
