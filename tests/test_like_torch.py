"""An adapted model goes where any torch module goes: into torch.export, torch.compile and plain DDP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from every_method import NAMES, adapted, some_images
from torch import Tensor, nn

import adapters_lib as al


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_method_is_exported_unmerged_with_a_batch_of_any_size(name: str) -> None:
    model = adapted(name)
    any_batch = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(model, (some_images(),), dynamic_shapes=any_batch, strict=False)
    for batch in (1, 7, 64):
        images = some_images(batch)
        torch.testing.assert_close(exported.module()(images), model(images))


def _step(model: nn.Module, run: object, images: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(0)
    run(images).square().sum().backward()
    return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NAMES)
def test_every_method_compiles_to_one_graph_and_trains_there(name: str) -> None:
    torch.compiler.reset()
    model, images = adapted(name).train(), some_images()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    expected = _step(model, model, images)
    gradients = _step(model, compiled, images)
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(gradients[key], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "vqt"])  # which look at their surroundings, or at what a hook heard
@torch.no_grad()
def test_a_compiled_model_predicts_what_the_eager_one_does(name: str) -> None:
    torch.compiler.reset()
    model = adapted(name)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(some_images()), model(some_images()))


def test_plain_ddp_trains_every_method_and_with_all_exits_the_early_heads_too(tmp_path: Path) -> None:
    script = Path(__file__).with_name("run_ddp_steps.py")
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    both = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path)],
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    errors = [process.communicate(timeout=3600)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)[-3000:]
    moved = dict(line.split(": ") for line in (tmp_path / "moved.txt").read_text().splitlines())
    assert list(moved) == [*NAMES, "dyn, every exit"]
    for name, keys in moved.items():
        trained = [key for key, p in adapted(name.split(",")[0]).named_parameters() if p.requires_grad]
        unmoved = set(trained) - set(keys.split())
        assert all(key.startswith("exits.") for key in unmoved) if name == "dyn" else not unmoved, (
            name,
            unmoved,
        )


def test_without_a_process_group_a_loss_on_the_last_logits_leaves_early_heads_without_gradients() -> None:
    model = adapted("dyn").train()
    model(some_images()).sum().backward()
    assert all(p.grad is None for p in model.exits.parameters())


def test_the_model_called_for_all_exits_gives_what_forward_exits_gives() -> None:
    model, images = adapted("dyn"), some_images()
    logits = model(images, exits=True)
    assert len(logits) == 2
    assert all(map(torch.equal, logits, model.forward_exits(images)))
    assert torch.equal(logits[-1], model(images))
    (only,) = al.AdaptedViT(model.backbone)(images, exits=True)
    assert torch.equal(only, logits[-1])
