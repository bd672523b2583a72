"""The training loop: one call, the same in a notebook, on a GPU and under `accelerate launch`, that survives
being killed.

Every epoch starts from seeds computed from (recipe.seed, epoch), and its order of images from the same, so
the state at the end of an epoch is all that is needed to go on: a run that was killed and resumed ends with
the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from accelerate import Accelerator
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from ..datasets.labelled import check_labels, data_set_of, labels_of
from ..errors import AdapterError
from ..options import check_workers
from ..vit.model import AdaptedViT
from ..vit.modes import on_device, unfused_if_slower
from .drop_path import drop_path_places, stochastic_depth
from .evaluate import evaluate, score
from .features import Features, TooLarge, cache_features as compute_features, why_not_cacheable
from .loop import Loop, Row, TrainingDiverged, has_batch_norm, make_accelerator
from .meaning import in_model_order, names_of_outputs, note_training, refuse_trained
from .recipe import Recipe
from .resume import RunFolder, State, describe_run, pack, unpack
from .run_lock import TrainingLock
from .suited import warn_unsuited

__all__ = ["Recipe", "Run", "TrainingDiverged", "evaluate", "fit"]

COLUMNS = ["epoch", "train_loss", "val_loss", "val_top1", "lr", "seconds", "images_per_second"]


@dataclasses.dataclass
class Run:
    """What a training left behind.

    Args:
        history: one row per epoch: epoch (from 1), train_loss, val_loss (nats), val_top1 (percent), lr (at
            the epoch's last update), seconds (whole epoch), images_per_second (training part, all processes).
            val_* are NaN without validation data.
        recipe: as trained.
        stopped: None if all epochs ran, else why it ended early.
        out: folder with the checkpoint, or None.
        cached: for "train" and "val": whether features were cached, or why not.
        precision: "no", "bf16" or "fp16": what "auto" came to.
        updates: how often the optimiser has changed the weights, before a resume included.
    """

    history: pd.DataFrame
    recipe: Recipe
    stopped: str | None = None
    out: Path | None = None
    cached: dict[str, str] = dataclasses.field(default_factory=dict)
    precision: str = "no"
    updates: int = 0

    @property
    def final(self) -> Row:
        """The last epoch's row. Never the best epoch: picking that on the data it is reported on flatters."""
        rows = self.history.tail(1).to_dict("records")
        return {str(key): value for key, value in rows[0].items()} if rows else {}


def fit(
    model: AdaptedViT,
    train: Dataset,
    val: Dataset | None = None,
    recipe: Recipe | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    tensorboard: bool = False,
    cache_features: bool | Literal["auto"] = "auto",
    stop: Callable[[Row], bool] | None = None,
    on_epoch: Callable[[Row], object] | None = None,
) -> Run:
    """Train what is trainable in `model`.

    Changed in place: the model's trainable weights; it is left in eval mode. It trains on accelerate's device
    (a GPU if there is one) and is then back on the device where it was. The global random generators (torch,
    NumPy, Python) are seeded anew in every epoch. The model takes over the names of the classes from `train`,
    if it has none, and remembers which split and images it trained on; both are kept in `out` and by
    `save_pretrained`. Under `accelerate launch` or `notebook_launcher` every process calls it; each takes
    `recipe.batch_size` images per step, and process 0 writes the files.

    Args:
        train, val: data sets of (image, label) with `labels`, or cached `Features`.
        recipe: None: `Recipe()`.
        out: folder for a checkpoint after every epoch, and in the end for the adapter as `save_pretrained`
            writes it.
        resume: go on from the checkpoint in `out` (a finished run returns at once); False: start the same run
            again from its beginning, that is from the weights that the folder keeps in `start.safetensors`,
            whatever the model holds by now. For another start, give another folder.
        progress: show a progress bar.
        tensorboard: write scalars to `out`/tensorboard.
        cache_features: keep the features of the frozen first blocks in memory. "auto": if at least one block
            is frozen, the images are the same in every epoch, and they take at most 4 GiB; True: insist for
            the training set; False: never. With `recipe.drop_path` those of the training set are random, so
            they are not kept.
        stop: called after each epoch with its row of the history; training ends when it returns True.
        on_epoch: called after each epoch with its row, for live plots.

    Warns:
        OptionWarning: photographs on an embedded backbone, which saw drawings only, or a recipe of
            `offline_recipe` that was tuned for another backbone.

    Raises:
        TrainingDiverged: the loss is NaN or infinite; the last good checkpoint is kept and, with `out`,
            loaded into the model.
        AdapterError: empty data, labels out of range, classes of other names than the model's, validation
            images that it trains on, nothing to train, a merged model, a folder with another run (another
            recipe, other images, …) or in which another process trains, features that cannot be cached
            although asked for.

    Examples:
        >>> vit = al.create_backbone()
        >>> task = al.load_data("leaves-ultra", backbone=vit, cultivars=2, n_train=4, n_val=2, n_test=2)
        >>> model = al.adapt(vit, "linear", classes=task.classes)
        >>> run = al.fit(model, task.train, task.val, al.Recipe(epochs=2), progress=False)
        >>> len(run.history)
        2
    """
    recipe = Recipe() if recipe is None else recipe
    if not isinstance(recipe, Recipe):
        raise AdapterError(f"fit: recipe is a {type(recipe).__name__}; give al.Recipe(epochs=…, lr=…)")
    check_workers(recipe.num_workers, "Recipe: num_workers")
    if tensorboard and out is None:
        raise AdapterError("tensorboard=True writes next to the checkpoints; give a folder out=…")
    train = in_model_order(model, data_set_of(train, "fit: train"), "fit: train")
    val = None if val is None else in_model_order(model, data_set_of(val, "fit: val"), "fit: val")
    _check_data(model, train, val, recipe)
    accelerator = make_accelerator(recipe)
    if accelerator.is_main_process:
        warn_unsuited(model, train, recipe)
    writes = out is not None and accelerator.is_main_process
    locked = TrainingLock(Path(out)) if writes and out else contextlib.nullcontext()
    with locked, on_device(model, accelerator.device):
        folder = state = None
        if out is not None:
            folder = RunFolder(out, describe_run(model, recipe, train, val, accelerator.num_processes))
            state = folder.load(model) if resume else folder.beginning(model)
        accelerator.wait_for_everyone()  # before process 0 writes: all of them must have read the same folder
        loop = Loop(model, len(labels_of(train)), recipe, accelerator, out)
        history = state.history if state else []
        model.classes = names_of_outputs(model, train) or model.classes  # type: ignore[assignment]
        note_training(model, train)
        if val is not None:
            refuse_trained(model, val, "fit: val")
        if state:
            _restore(loop, state)
            if folder and writes:
                folder.write_summary(state) if resume else folder.go_back_to(state)
        elif folder:
            _save(folder, loop, history)
        kept = None if out is None else Path(out)
        run = Run(_table(history), recipe, out=kept, precision=accelerator.mixed_precision)
        show = progress and accelerator.is_main_process
        if len(history) < recipe.epochs:
            train, val, run.cached = _cached(model, train, val, recipe, cache_features, accelerator, show)
        total, done = recipe.epochs * loop.steps, len(history) * loop.steps
        board = _board(run.out if tensorboard and writes else None)
        kernels = unfused_if_slower(model, accelerator.device, accelerator.mixed_precision)
        with (
            kernels,
            stochastic_depth(model, recipe.drop_path),
            board as log,
            tqdm(total=total, initial=done, desc="training", unit="step", disable=not show) as bar,
        ):
            for epoch in range(len(history), recipe.epochs):
                row = _epoch(loop, epoch, train, val, bar, folder)
                history.append(row)
                log(row)
                if folder:
                    _save(folder, loop, history)
                if on_epoch:
                    on_epoch(dict(row))
                if stop and stop(dict(row)) and epoch + 1 < recipe.epochs:
                    run.stopped = f"stop() asked for it after epoch {epoch + 1} of {recipe.epochs}"
                    break
        run.history, run.updates = _table(history), loop.updates
        model.eval()
        if run.out is not None and writes:
            model.save_pretrained(run.out)
        accelerator.wait_for_everyone()
        return run


def _epoch(
    loop: Loop, epoch: int, train: Dataset, val: Dataset | None, bar: tqdm, folder: RunFolder | None
) -> Row:
    """Train for one epoch (counted from 0), validate, and return its row of the history. Raises
    TrainingDiverged as `Loop.epoch`, with the last good weights back in the model if the folder has them."""
    start, model, recipe = time.perf_counter(), loop.model, loop.recipe
    try:
        row = loop.epoch(epoch, train, bar)
    except TrainingDiverged:
        if folder and (good := folder.load(model)):
            unpack(good.tensors, model)
        raise
    if val is not None:
        how: Any = {"num_workers": recipe.num_workers, "forward": loop.infer(val)}
        result = score(model, val, max(64, recipe.batch_size), **how)
        row |= {"val_loss": result["loss"], "val_top1": result["top1"]}
    row["seconds"] = time.perf_counter() - start
    return row


def _check_data(model: AdaptedViT, train: Dataset, val: Dataset | None, recipe: Recipe) -> None:
    if model.merged:
        raise AdapterError("fit: the model is merged, so its adapters are gone; call unmerge() first")
    for name, data in (("train", train), ("val", val)):
        if data is None:
            continue
        labels = labels_of(data)
        if len(labels) == 0:
            raise AdapterError(f"fit: the data set {name!r} is empty; give it at least one image")
        check_labels(f"fit: {name}", labels, model.num_classes)
        if isinstance(data, Features):
            data.check(model)
    if recipe.drop_path:
        for block in model.backbone.blocks:
            drop_path_places(block)
    if isinstance(train, Features) and recipe.drop_path:
        raise AdapterError(
            f"fit: drop_path={recipe.drop_path} leaves out parts of the frozen blocks at random, but `train` "
            "holds cached features; set drop_path to 0 or give the images"
        )
    if isinstance(train, Features) and recipe.mixes:
        raise AdapterError(
            "fit: mixup and cutmix mix images, but `train` holds cached features; set both to 0 or give the"
            " images"
        )
    if has_batch_norm(model) and min(recipe.batch_size, len(labels_of(train))) == 1:
        raise AdapterError(
            "fit: batches of 1 image, but the model's batch norm needs at least 2; raise batch_size or give"
            " more images"
        )
    if recipe.mixes and len(labels_of(train)) < 2:
        raise AdapterError(
            "fit: mixup and cutmix mix pairs of images, but there is only 1; set both to 0 or give more"
            " images"
        )


def _restore(loop: Loop, state: State) -> None:
    unpack(state.tensors, loop.model, loop.optimizer)
    loop.updates = state.updates
    if state.scaler and loop.accelerator.scaler is not None:
        loop.accelerator.scaler.load_state_dict(state.scaler)


def _save(folder: RunFolder, loop: Loop, history: list[Row]) -> None:
    if loop.accelerator.is_main_process:
        scaler = loop.accelerator.scaler.state_dict() if loop.accelerator.scaler is not None else None
        folder.save(State(len(history), loop.updates, history, scaler, pack(loop.model, loop.optimizer)))
    loop.accelerator.wait_for_everyone()


def _table(history: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(history, columns=COLUMNS)


def _cached(
    model: AdaptedViT,
    train: Dataset,
    val: Dataset | None,
    recipe: Recipe,
    wanted: bool | Literal["auto"],
    accelerator: Accelerator,
    show: bool,
) -> tuple[Dataset, Dataset | None, dict[str, str]]:
    """Replace the data sets by features of them where that is asked for and possible, and say what was
    done."""
    notes: dict[str, str] = {}
    parts: dict[str, Dataset | None] = {"train": train, "val": val}
    for name, data in parts.items():
        if data is None:
            continue
        why_not = why_not_cacheable(model, data)
        if name == "train" and recipe.mixes:
            why_not = "mixup and cutmix change the images in every epoch"
        if name == "train" and recipe.drop_path:
            why_not = f"drop_path={recipe.drop_path} leaves out parts of the frozen blocks at random"
        must = wanted is True and name == "train"
        if isinstance(data, Features):
            notes[name] = "given as features"
        elif why_not and must:
            raise AdapterError(f'fit: cache_features=True, but {why_not}; use cache_features="auto"')
        elif wanted is False or why_not:
            notes[name] = f"not cached: {why_not or 'cache_features=False'}"
        elif wanted == "auto" and (recipe.epochs == 1 or model.first_trainable_stage < 2):
            notes[name] = (
                "not cached: one epoch reads them once"
                if recipe.epochs == 1
                else "not cached: no block is frozen from the start"
            )
        else:
            try:
                with accelerator.autocast():
                    features = compute_features(model, data, num_workers=recipe.num_workers, progress=show)
            except TooLarge as error:
                if must:
                    raise
                notes[name] = f"not cached: {error}"
            else:
                parts[name] = features
                notes[name] = f"cached behind {_place(model)}, {features.nbytes / 2**20:.1f} MiB"
    return parts["train"] or train, parts["val"], notes


def _place(model: AdaptedViT) -> str:
    return (
        "the final norm"
        if model.first_trainable_stage > model.depth + 1
        else f"block {model.first_trainable_stage - 1} of {model.depth}"
    )


@contextlib.contextmanager
def _board(out: Path | None) -> Iterator[Callable[[Row], None]]:
    """A function that writes a row of the history to TensorBoard, or does nothing without a folder."""
    if out is None:
        yield lambda row: None
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise AdapterError(
            "tensorboard=True, but tensorboard is not installed; pip install tensorboard, or leave it out"
        )
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(out / "tensorboard") as writer:  # type: ignore[no-untyped-call]

        def log(row: Row) -> None:
            for name, value in row.items():
                if name != "epoch" and not math.isnan(value):
                    writer.add_scalar(name, value, row["epoch"])

        yield log
