"""The attention explorer and the granularity dial, operated by keyboard in JupyterLab: every control
redraws, errors are read there."""

from lab import Notebook

EXPLORER = """\
import adapters_lib as al
from adapters_lib.datasets.load import load_data
from adapters_lib.widgets import AttentionExplorer

names = ("linear", "lora", "ila")
models = {name: al.adapt(al.create_backbone(), name, num_classes=3, seed=0) for name in names}
AttentionExplorer(models, load_data("leaves-ultra", cultivars=3, n_train=1, n_val=1, n_test=2))"""
DIAL = """\
from adapters_lib.widgets import GranularityDial

GranularityDial(cultivars=4)"""

NAME = "attention"
CELLS = [EXPLORER, DIAL]


def test_every_control_of_the_explorer_redraws(notebook: Notebook) -> None:
    assert notebook.state()["errors"] == []
    panel = notebook.panel("image (number: class)")
    panel.shoot("explorer-before")
    with panel.redraws():
        panel.slide("block", "ArrowLeft")
    for label, says in (
        ("head", "head 1"),
        ("image (number: class)", "cultivar 2"),
        ("what is shown", "rollout"),
    ):
        with panel.redraws():
            assert says in panel.choose(label)
    panel.shoot("explorer-after")


def test_without_a_model_the_explorer_says_so_and_keeps_its_picture(notebook: Notebook) -> None:
    panel = notebook.panel("image (number: class)")
    before = panel.pictures()
    models = panel.control("models").locator("select").first
    models.select_option([])
    panel.wait_for_text("no model is selected")
    assert panel.pictures() == before
    panel.shoot("explorer-nothing-selected")
    with panel.redraws():
        models.select_option(["ila"])


def test_the_dial_redraws_the_leaves_and_says_where_accuracies_come_from(notebook: Notebook) -> None:
    panel = notebook.panel("granularity (0–1)")
    with panel.redraws():
        panel.slide("granularity (0–1)", "PageUp", 3)
    panel.wait_for_text("stored runs")
    panel.shoot("dial")
    assert notebook.complaints == []
