"""Run by test_resume.py: three trainings, each in a process that is killed (SIGKILL) at its worst moment."""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny_training import striped_images, tiny_model

from adapters_lib.datasets.labelled import TensorImages
from adapters_lib.saving import tensors as checkpoint
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe

METHOD = "ila:samplings=1"  # batch norm, dropout and an unfrozen class token: all that a resume could forget
RECIPE = Recipe(
    epochs=4, batch_size=8, lr=1e-2, warmup_epochs=1, accumulate=2, mixup=0.4, clip_norm=1.0, seed=3
)


class Noisy(TensorImages):
    """Augmentation by torch's global generator; dies when a given batch is fetched."""

    deterministic = False  # type: ignore[assignment]
    dies_at = -1
    fetched = 0

    def __getitems__(self, indices):
        self.fetched += 1
        if self.fetched == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        images, labels = super().__getitems__(indices)
        return images + 0.1 * torch.randn_like(images), labels


def data() -> Noisy:
    images = striped_images(44)
    return Noisy(images.images, images.labels, [0.5] * 3, [0.5] * 3)


def train(where: str, folder: Path) -> None:
    """6 batches an epoch; die in the third epoch, in the second epoch's save, or in the first epoch."""
    train_data = data()
    train_data.dies_at = {"epoch": 15, "save": -1, "first": 4}[where]
    if where == "save":
        whole_save, saves = checkpoint.save_file, []

        def half_a_save(tensors, path, metadata):
            saves.append(path)
            whole_save(tensors, path, metadata)
            if len(saves) == 3:  # the initial state, epoch 1, and now epoch 2
                os.truncate(path, path.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.save_file = half_a_save
    fit(
        tiny_model(METHOD), train_data, striped_images(12, seed=1), RECIPE, out=folder / where, progress=False
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for where in ("epoch", "save", "first"):
        child = os.fork()
        if child == 0:
            train(where, Path(sys.argv[1]))
            os._exit(0)
        print(f"{where}:{os.WTERMSIG(os.waitpid(child, 0)[1])}", flush=True)
