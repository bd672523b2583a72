"""The figures that look inside models: the frozen ViT beside ILA of several seeds, trained once and read
back afterwards."""

from pathlib import Path

import numpy as np
import pytest

import adapters_lib as al
from adapters_lib.figures import paper_models


@pytest.fixture(autouse=True)
def brief(monkeypatch) -> None:
    """Adapters that nobody trained, and few images: what is tested is the drawing."""
    models = tuple(al.adapt(al.create_backbone(), "ila", num_classes=20, seed=seed).eval() for seed in (0, 1))
    monkeypatch.setattr(paper_models, "_IMAGES", 6)
    monkeypatch.setattr(paper_models, "small_adapters", lambda: models)


def test_cka_is_drawn_for_the_frozen_vit_and_for_ila_with_its_groups() -> None:
    figure = paper_models.attention_similarity()
    frozen, adapted = figure.axes[:2]
    assert (frozen.get_title(), adapted.get_title()) == ("frozen", "ILA, mean of n = 2 seeds")
    assert adapted.images[0].get_array().shape == (12, 12)
    assert len(adapted.lines) == 4  # between blocks 4 and 5, and 8 and 9, on both axes
    assert not frozen.lines
    same = np.asarray(frozen.images[0].get_array())[:4, :4]
    # Before the first ILA nothing differs.
    np.testing.assert_allclose(adapted.images[0].get_array()[:4, :4], same, atol=1e-4)
    assert "synthetic leaves (leaves-ultra), 6 test images" in figure.get_suptitle()
    assert "95 % half-widths over seeds at most" in figure.get_suptitle()


def test_rollouts_lie_over_the_leaves_group_by_group() -> None:
    figure = paper_models.attention_rollout(count=2)
    titles = [ax.get_title() for ax in figure.axes[:5]]
    assert titles == ["", "frozen\nblocks 1–12", "ILA\nblocks 1–4", "ILA\nblocks 5–8", "ILA\nblocks 9–12"]
    assert len(figure.axes) == 10
    assert "synthetic leaves" in figure.get_suptitle()


def test_distances_shrink_with_the_grid_of_ila() -> None:
    figure = paper_models.attention_distance(count=2)
    frozen, adapted = (ax.lines[-1].get_ydata() for ax in figure.axes)
    assert len(frozen) == len(adapted) == 12
    np.testing.assert_allclose(adapted[:4], frozen[:4], rtol=1e-4)
    assert adapted[-1] < adapted[5] < adapted[3]


def test_small_adapters_are_trained_once_and_read_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("ADAPTERS_OUT", str(tmp_path))
    monkeypatch.setattr(paper_models, "_N_TRAIN", 1)
    monkeypatch.setattr(paper_models, "_EPOCHS", 2)
    (model,) = paper_models.small_adapters("ila", (0,))
    recipe = al.offline_recipe("ila")
    folder = (
        tmp_path / "runs" / "paper_models" / f"ila-0-{recipe.lr:g}-{recipe.head_lr_scale:g}-{al.__version__}"
    )
    assert (folder / "adapter_config.json").exists()
    paper_models.small_adapters.cache_clear()
    monkeypatch.setattr(paper_models, "fit", None)  # it must not be called again
    (again,) = paper_models.small_adapters("ila", (0,))
    paper_models.small_adapters.cache_clear()
    assert again.num_classes == model.num_classes == 20
