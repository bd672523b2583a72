"""The attention explorer shows what the capture saw, asks each model once an image, and says in the widget
what is wrong."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import adapters_lib as al
from adapters_lib.analysis.attention import capture_attention
from adapters_lib.analysis.rollout import rollout_groups
from adapters_lib.datasets.load import load_data
from adapters_lib.datasets.task import Task
from adapters_lib.figures import attention_explorer
from adapters_lib.figures.attention_explorer import attention_views, explorer_figure
from adapters_lib.widgets import attention as widgets_attention
from adapters_lib.widgets.attention import AttentionExplorer

TinyViT = Callable[..., nn.Module]


@pytest.fixture(scope="module")
def task() -> Task:
    return load_data("leaves-ultra", augment=None, image_size=32, cultivars=3, n_train=1, n_val=1, n_test=2)


@pytest.fixture
def models(tiny_vit: TinyViT) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"frozen": tiny_vit(), "ILA": al.adapt(tiny_vit(), al.ILA(samplings=1), num_classes=3, seed=0)}


# ---- the plain functions -------------------------------------------------------------------------


def test_views_are_the_captured_rows_of_the_class_token(
    models: dict[str, nn.Module], images: torch.Tensor
) -> None:
    vit = models["frozen"]
    views = attention_views(vit, images[0])
    with capture_attention(vit) as seen, torch.no_grad():
        vit(images[:1])
    for block in range(1, 5):
        torch.testing.assert_close(views.map(block, 2), seen[block][0, 1, 0, 1:].view(8, 8))
        torch.testing.assert_close(views.map(block), seen[block][0, :, 0, 1:].mean(0).view(8, 8))


def test_a_rollout_starts_anew_where_the_grid_shrinks(
    models: dict[str, nn.Module], images: torch.Tensor
) -> None:
    views = attention_views(models["ILA"], images[0])
    assert [tuple(views.map(block, view="rollout").shape) for block in (1, 2, 3, 4)] == [
        (8, 8),
        (8, 8),
        (6, 6),
        (6, 6),
    ]
    assert views.first == (1, 1, 3, 3)
    for group in rollout_groups(models["ILA"], images[:1]):
        torch.testing.assert_close(views.map(group.blocks[-1], view="rollout"), group.patches[0].float())


def test_a_look_leaves_the_model_as_it_was(models: dict[str, nn.Module], images: torch.Tensor) -> None:
    model = models["ILA"].train()
    fused = [block.attn.fused_attn for block in model.backbone.blocks]
    attention_views(model, images[0])
    assert model.training
    assert [block.attn.fused_attn for block in model.backbone.blocks] == fused


def test_what_does_not_exist_is_named(models: dict[str, nn.Module], images: torch.Tensor) -> None:
    views = attention_views(models["frozen"], images[0])
    for arguments, message in (
        ((5,), "block 5 does not exist"),
        ((1, 3), "head 3 does not exist"),
        ((1, None, "rolout"), "'rollout'"),
    ):
        with pytest.raises(al.AdapterError, match=message):
            views.map(*arguments)
    with pytest.raises(al.AdapterError, match="give one normalised image"):
        attention_views(models["frozen"], images)
    with pytest.raises(al.AdapterError, match="no model is selected"):
        explorer_figure(torch.zeros(3, 32, 32, dtype=torch.uint8), {}, 1)


def test_every_panel_says_its_grid_and_the_share_on_patches(
    models: dict[str, nn.Module], images: torch.Tensor
) -> None:
    views = {name: attention_views(model, images[0]) for name, model in models.items()}
    figure = explorer_figure(torch.zeros(3, 32, 32, dtype=torch.uint8), views, 4)
    titles = [ax.get_title() for ax in figure.axes]
    share = 100 * float(views["ILA"].map(4).sum())
    assert titles[1].startswith("frozen\n8 × 8 patches")
    assert titles[2] == f"ILA\n6 × 6 patches, {share:.0f} %"
    assert (
        "blocks 3 to 4"
        in explorer_figure(torch.zeros(3, 32, 32, dtype=torch.uint8), views, 4, view="rollout")
        .axes[2]
        .get_title()
    )


# ---- the widget ----------------------------------------------------------------------------------


def test_each_control_draws_another_picture(models: dict[str, nn.Module], task: Task) -> None:
    explorer = AttentionExplorer(models, task)
    seen = {bytes(explorer.picture.value)}
    for name, value in (("block", 2), ("head", 1), ("image", 2), ("methods", ("ILA",)), ("view", "rollout")):
        explorer.controls[name].value = value
        assert explorer.message.value == ""
        seen.add(bytes(explorer.picture.value))
    assert len(seen) == 6


def test_a_model_sees_an_image_once(
    models: dict[str, nn.Module], task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    look = attention_explorer.attention_views
    monkeypatch.setattr(
        widgets_attention, "attention_views", lambda model, image: asked.append(model) or look(model, image)
    )
    explorer = AttentionExplorer(models, task)
    for block in (1, 2, 3):
        explorer.controls["block"].value = block
    explorer.controls["head"].value = 2
    assert len(asked) == 2
    explorer.controls["image"].value = 2
    explorer.controls["image"].value = 0
    assert len(asked) == 4


def test_nothing_selected_is_said_in_the_widget_and_the_last_picture_stays(
    models: dict[str, nn.Module], task: Task
) -> None:
    explorer = AttentionExplorer(models, task)
    shown = explorer.picture.value
    explorer.controls["methods"].value = ()
    assert "no model is selected" in explorer.message.value
    assert explorer.picture.value == shown
    explorer.controls["methods"].value = ("frozen",)
    assert explorer.message.value == ""


def test_every_control_has_a_label_and_takes_the_keyboard(models: dict[str, nn.Module], task: Task) -> None:
    for control in AttentionExplorer(models, task).controls.values():
        assert control.description
        assert control.tabbable is not False


def test_the_shown_image_is_the_drawn_one_again(models: dict[str, nn.Module], task: Task) -> None:
    torch.testing.assert_close(widgets_attention._picture(task, 3), task.test.images[3])  # type: ignore[attr-defined]


def test_models_that_cannot_stand_side_by_side_are_refused(tiny_vit: TinyViT, task: Task) -> None:
    with pytest.raises(al.AdapterError, match="a: 4 blocks, 32 pixels, b: 2 blocks"):
        AttentionExplorer({"a": tiny_vit(), "b": tiny_vit(depth=2)}, task)
    with pytest.raises(al.AdapterError, match="got no model"):
        AttentionExplorer({}, task)
    with pytest.raises(al.AdapterError, match="0 to 5"):
        AttentionExplorer({"a": tiny_vit()}, task, indices=[6])
