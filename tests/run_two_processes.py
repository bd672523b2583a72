"""Run by `accelerate launch` in test_training.py: trains in two processes; process 0 writes down what came
out."""

import sys
from pathlib import Path

import torch
from accelerate import PartialState
from tiny_training import striped_images, tiny_model

from adapters_lib.saving.tensors import save_tensors
from adapters_lib.training.evaluate import collect_logits
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe

if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    val = striped_images(15, seed=1)
    model = tiny_model("lora")
    run = fit(
        model,
        striped_images(42),
        val,
        Recipe(epochs=2, batch_size=8, lr=1e-2, optimizer="sgd"),
        out=out / "run",
        progress=False,
    )
    logits, _ = collect_logits(model, val, batch_size=4)
    if PartialState().is_main_process:
        facts = {key: run.final[key] for key in ("val_top1", "train_loss")} | {
            "processes": PartialState().num_processes
        }
        save_tensors(out / "result.safetensors", {"logits": logits, **model.trainable_state_dict()}, facts)
    PartialState().destroy_process_group()
