"""What is stored, damaged at random: adapters, run checkpoints, tables and JSON files.

A kind of `STORED` has `make(folder)`, which writes a sound one; `mutate(folder, dice)`, which damages a copy
of it and says how; and `check(folder)`, which uses the copy as a user would. `check` ends if the result is
what the sound one gives or may give, raises the `AdapterError` of a refusal that left everything as it was,
and anything else is a fault.
"""

from __future__ import annotations

import functools
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tiny_training import striped_images, tiny_backbone, tiny_model
from torch import Tensor

import adapters_lib as al
from adapters_lib.datasets.labelled import labels_of
from adapters_lib.experiments.run import Experiment, pack_hits, read_table, store_row, unpack_hits
from adapters_lib.saving.checkpoint import load_pretrained
from adapters_lib.saving.header import CONFIG, WEIGHTS
from adapters_lib.saving.tensors import load_tensors, save_tensors
from adapters_lib.training.fit import fit
from adapters_lib.training.recipe import Recipe
from fuzz.engine import Case, kind

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 10**18, 0.5, -0.0, float("nan"), float("inf"), 1e308,
    "", "lora", "a" * 300, "../../etc/passwd",
    "hf-hub:someone/x", "http://example.org/x", "\0", "é", [], [1, "a", None], {}, {"name": "lora"},
    {"a": {"b": [1]}}, "[1, 2]", "True",
]  # fmt: skip


def odd_json(value: Any, dice: random.Random) -> Any:
    """The value with one of its parts, at any depth, replaced, dropped, doubled or renamed."""
    if isinstance(value, dict) and value and dice.random() < 0.85:
        key = dice.choice(sorted(value))
        how = dice.random()
        if how < 0.12:
            return {k: v for k, v in value.items() if k != key}
        if how < 0.2:
            return {**{k: v for k, v in value.items() if k != key}, f"{key}_": value[key]}
        if how < 0.28:
            return {
                **value,
                dice.choice(["checkpoint_path", "pretrained_cfg", "weights", "x", "rank"]): dice.choice(ODD),
            }
        return {**value, key: odd_json(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        how = dice.random()
        if how < 0.2:
            return value[:place] + value[place + 1 :]
        if how < 0.35:
            return [*value, value[place]]
        return [*value[:place], odd_json(value[place], dice), *value[place + 1 :]]
    return dice.choice(ODD)


def odd_bytes(content: bytes, dice: random.Random) -> bytes:
    """A few bits flipped, a stretch cut out, zeroed, doubled or replaced, or the end cut off."""
    how, size = dice.randrange(6), len(content)
    if how == 0:
        changed = bytearray(content)
        for _ in range(dice.choice([1, 1, 3, 20])):
            changed[dice.randrange(size)] ^= 1 << dice.randrange(8)
        return bytes(changed)
    start = dice.randrange(size)
    stop = min(size, start + dice.choice([1, 8, 100, 5000]))
    middle = [b"", bytes(stop - start), content[start:stop] * 2, dice.randbytes(stop - start), b""][how - 1]
    return content[:start] + middle + (content[stop:] if how < 5 else b"")


def odd_tensors(tensors: dict[str, Tensor], dice: random.Random) -> dict[str, Tensor]:
    """One tensor of another type, shape or value, renamed, doubled or gone."""
    name = dice.choice(sorted(tensors))
    tensor = tensors[name]
    rest = {key: value for key, value in tensors.items() if key != name}
    changes: list[Callable[[], dict[str, Tensor]]] = [
        lambda: rest,
        lambda: {**rest, f"{name}.x": tensor},
        lambda: {**tensors, f"{name}.x": tensor},
        lambda: {
            **rest,
            name: tensor.to(dice.choice([torch.int8, torch.float16, torch.float64, torch.bool, torch.int64])),
        },
        lambda: {**rest, name: tensor[..., None]},
        lambda: {**rest, name: tensor.flatten()[: max(tensor.numel() - 1, 0)]},
        lambda: {
            **rest,
            name: torch.full_like(tensor.float(), dice.choice([float("nan"), float("inf"), -1.0, 1e30])),
        },
        lambda: {**rest, name: torch.empty(0)},
    ]
    return dice.choice(changes)()


def _signed(path: Path, dice: random.Random) -> str:
    """Damage a safetensors file as somebody would who writes its digest anew; says what."""
    tensors, metadata = load_tensors(path)
    if dice.random() < 0.6:
        key = dice.choice(sorted(metadata))
        save_tensors(path, tensors, {**metadata, key: odd_json(metadata[key], dice)})
        return f"{key} in the header"
    save_tensors(path, odd_tensors(tensors, dice), metadata)
    return "a tensor"


def _unsigned(path: Path, dice: random.Random) -> str:
    path.write_bytes(odd_bytes(path.read_bytes(), dice))
    return "bytes"


# ---- adapters ------------------------------------------------------------------------------------


def make_adapter(folder: Path) -> None:
    model = tiny_model("lora")
    model.classes = ["ash", "beech", "cedar", "elm"]
    model.save_pretrained(folder)


@lru_cache(maxsize=1)
def _images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@lru_cache(maxsize=1)
def _sound_logits() -> Tensor:
    with torch.no_grad():
        return tiny_model("lora").eval()(_images())


def mutate_adapter(folder: Path, dice: random.Random) -> str:
    change = _unsigned if dice.random() < 0.4 else _signed
    return change(folder / WEIGHTS, dice)


def check_adapter(folder: Path) -> None:
    vit = tiny_backbone()
    layout = repr(vit)
    try:
        model = load_pretrained(folder, backbone=vit)
    except al.AdapterError:
        assert repr(vit) == layout, "a refused adapter left its traces in the backbone"
        raise
    with torch.no_grad():
        logits = model(_images())
    assert bool(torch.isfinite(logits).all()) or bool(
        (torch.stack([p.abs().max() for p in model.parameters()]) > 1e20).any()
    )
    assert model.classes is None or len(model.classes) == logits.shape[1]


def mutate_adapter_bytes(folder: Path, dice: random.Random) -> str:
    return _unsigned(folder / WEIGHTS, dice)


def check_adapter_bytes(folder: Path) -> None:
    """Damage that nobody signed: refused, or without any effect."""
    model = load_pretrained(folder, backbone=tiny_backbone())
    with torch.no_grad():
        assert torch.equal(model(_images()), _sound_logits())
    assert model.classes == ["ash", "beech", "cedar", "elm"]


def mutate_rebuilt(folder: Path, dice: random.Random) -> str:
    """What a header says of the backbone."""
    tensors, metadata = load_tensors(folder / WEIGHTS)
    config = metadata["config"]
    config["backbone"] = odd_json(config["backbone"], dice)
    save_tensors(folder / WEIGHTS, tensors, {"config": config})
    return f"backbone: {str(config['backbone'])[:200]}"


def make_rebuilt(folder: Path) -> None:
    al.adapt(al.create_backbone(image_size=32), "bitfit", 3, seed=0).save_pretrained(folder)


def check_rebuilt(folder: Path) -> None:
    """A header that says how to build the backbone."""
    model = load_pretrained(folder)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


# ---- run checkpoints -----------------------------------------------------------------------------

RECIPE = Recipe(epochs=3, batch_size=8, lr=1e-2)


def make_run(folder: Path) -> None:
    fit(
        tiny_model("linear"),
        striped_images(16),
        None,
        RECIPE,
        out=folder,
        progress=False,
        stop=lambda row: row["epoch"] == 2,
    )


def mutate_run(folder: Path, dice: random.Random) -> str:
    path = folder / dice.choice(["checkpoint.safetensors", "checkpoint.safetensors", "start.safetensors"])
    change = _unsigned if dice.random() < 0.4 else _signed
    return f"{path.name}: {change(path, dice)}"


def check_run(folder: Path) -> None:
    model = tiny_model("linear")
    before = {name: tensor.clone() for name, tensor in model.trainable_state_dict().items()}
    try:
        run = fit(model, striped_images(16), None, RECIPE, out=folder, progress=False)
    except al.TrainingDiverged:
        raise  # huge weights that are finite, signed by somebody
    except al.AdapterError:
        assert all(torch.equal(before[name], tensor) for name, tensor in model.trainable_state_dict().items())
        raise
    assert list(run.history["epoch"]) == [1, 2, 3]
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    assert len(labels_of(striped_images(16))) == 16


# ---- tables --------------------------------------------------------------------------------------


def make_table(folder: Path) -> None:
    for number in range(4):
        run = Experiment(("lora",), "digits", seed=number)
        hits = torch.arange(20) % 7 < 3 + number
        common = {
            "key": run.key,
            "method": run.name,
            "seed": number,
            "top1": 100 * float(hits.double().mean()),
            "n_test": 20,
        }
        more = {
            "hits": pack_hits(hits),
            "macs": 410_712_345,
            "configuration": json.dumps(run.configuration(), sort_keys=True),
        }
        store_row({**common, **more}, folder / "t.csv")


def mutate_table(folder: Path, dice: random.Random) -> str:
    path = folder / "t.csv"
    lines = path.read_text().splitlines(keepends=True)
    place, how = dice.randrange(len(lines)), dice.randrange(5)
    if how == 0:
        return _unsigned(path, dice)
    if how == 1:
        lines.insert(dice.randrange(len(lines)), lines[place])
    elif how == 2:
        lines[place] = lines[place][: dice.randrange(len(lines[place]))]
    elif how == 3:
        cells = lines[place].split(",")
        cells[dice.randrange(len(cells))] = str(dice.choice(ODD))
        lines[place] = ",".join(cells)
    else:
        at = dice.randrange(len(lines[place]))
        lines[place] = lines[place][:at] + dice.choice('0123456789abcf,."\n') + lines[place][at + 1 :]
    path.write_text("".join(lines))
    return ["bytes", "a line twice", "a line cut short", "a cell", "a character"][how]


def check_table(folder: Path) -> None:
    path = folder / "t.csv"
    content = path.read_bytes()
    try:
        table = read_table(path)
        store_row({"key": "new", "top1": 50.0}, path)
    except al.AdapterError:
        assert path.read_bytes() == content, "a refused table was written to"
        raise
    assert "key" not in table or table["key"].is_unique
    if {"top1", "hits", "n_test"} <= set(table.columns):
        for row in table.dropna(subset=["hits", "top1", "n_test"]).itertuples():
            assert abs(100 * unpack_hits(row.hits, int(row.n_test)).mean() - row.top1) < 1e-3
    again = read_table(path)
    assert len(again) == len(table) + 1


# ---- JSON beside them ----------------------------------------------------------------------------


def make_peft(folder: Path) -> None:
    al.export_peft(tiny_model("lora"), folder)


def mutate_peft(folder: Path, dice: random.Random) -> str:
    path = folder / CONFIG
    if dice.random() < 0.2:
        return _unsigned(path, dice)
    changed = odd_json(json.loads(path.read_text()), dice)
    path.write_text(json.dumps(changed))
    return str(changed)[:300]


def check_peft(folder: Path) -> None:
    vit = tiny_backbone()
    layout = repr(vit)
    try:
        model = al.import_peft(folder, vit)
    except al.AdapterError:
        assert repr(vit) == layout, "a refused adapter left its traces in the backbone"
        raise
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(_images()), _sound_logits())


def mutate_summary(folder: Path, dice: random.Random) -> str:
    """`run.json` and `adapter_config.json`, which repeat for readers what the checkpoint and the adapter
    hold."""
    path = folder / dice.choice(["run.json", CONFIG, "training.json"])
    if not path.exists() or dice.random() < 0.3:
        path.write_bytes(odd_bytes(path.read_bytes() if path.exists() else b"{}", dice))
    else:
        path.write_text(json.dumps(odd_json(json.loads(path.read_text()), dice)))
    return path.name


def check_summary(folder: Path) -> None:
    """Neither is believed: the run goes on from its checkpoint and writes both anew."""
    check_run(folder)
    assert json.loads((folder / "run.json").read_text())["finished"] is True
    assert json.loads((folder / CONFIG).read_text())["num_classes"] == 4


@dataclass(frozen=True)
class Stored:
    """make: once; mutate: a copy of it; check: what became of it; writes: what it may leave beside it."""

    make: Callable[[Path], None]
    mutate: Callable[[Path, random.Random], str]
    check: Callable[[Path], None]
    writes: tuple[str, ...] = ()


RUN_FILES = ("run.json", CONFIG, WEIGHTS, "training.json")

STORED = {
    "adapters": Stored(make_adapter, mutate_adapter, check_adapter),
    "adapters, bytes": Stored(make_adapter, mutate_adapter_bytes, check_adapter_bytes),
    "adapters that rebuild": Stored(make_rebuilt, mutate_rebuilt, check_rebuilt),
    "run checkpoints": Stored(make_run, mutate_run, check_run, RUN_FILES),
    "tables": Stored(make_table, mutate_table, check_table, ("t.csv.lock",)),
    "peft configurations": Stored(make_peft, mutate_peft, check_peft),
    "run summaries": Stored(make_run, mutate_summary, check_summary, RUN_FILES),
}


@functools.cache
def _sound(make: Callable[[Path], None]) -> Path:
    """A folder with what `make` writes, made once a process."""
    home = tempfile.TemporaryDirectory(prefix="fuzz-sound-")
    _HOMES.append(home)  # removed at the end of the process
    make(Path(home.name) / "sound")
    return Path(home.name) / "sound"


_HOMES: list[tempfile.TemporaryDirectory[str]] = []


def damaged(name: str, dice: random.Random, place: Path) -> Case:
    """A case of one kind of `STORED`: a sound folder's copy, damaged."""
    stored, folder = STORED[name], place / "stored"
    shutil.copytree(_sound(stored.make), folder)
    what = stored.mutate(folder, dice)
    writes = tuple(f"{folder.name}/{file}" for file in stored.writes)
    return Case(what[:300], lambda: stored.check(folder), lambda _found: True, writes)


for _name in STORED:
    kind(_name)(functools.partial(damaged, _name))
