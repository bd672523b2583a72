"""The bench of methods compares like with like, in one process, with peft beside ours."""

import json

from conftest import make_tiny_vit

from adapters_lib import cli
from adapters_lib.benchmarks import methods as bench
from adapters_lib.cli.bench import show
from adapters_lib.methods.dyn import ALONE


def test_training_is_divided_by_full_fine_tuning_and_inference_by_bare_timm(capsys) -> None:
    arguments = [
        "bench",
        "methods",
        "--rounds",
        "2",
        "--batch",
        "1",
        "--train-batch",
        "2",
        "--classes",
        "3",
        "--json",
    ]
    assert cli.main([*arguments, "--method", "lora:rank=2", "--method", "ila", "--method", ALONE]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["training"]) == ["full", "lora:rank=2", "ila", ALONE, "peft lora", bench.FLOOR]
    assert result["training"]["full"]["ratio"] == 1
    assert result["training"]["ila"]["peak_ratio"] < result["training"]["lora:rank=2"]["peak_ratio"] < 1
    rows = result["inference"]["1"]
    assert list(rows)[:3] == ["bare timm", "lora:rank=2", "lora:rank=2, merged"]
    assert rows["lora:rank=2, merged"]["macs_ratio"] == 1
    assert rows["ila"]["macs_ratio"] < 0.75
    assert all(row["ms"] > 0 for row in rows.values())


def test_the_text_form_names_every_candidate() -> None:
    row = {"ratio": 1.0, "ratio_q25": 0.9, "ratio_q75": 1.1, "ms": 5.0}
    measured = {"training": {"full": {**row, "peak_ratio": 1.0}}, "inference": {"1": {bench.BARE: row}}}
    missed = {"target": "t", "measured": 0.8, "limit": 0.75, "met": False}
    result = {"backbone": "b", "device": "cpu", "threads": 1, **measured, "targets": [missed]}
    assert "full" in show(result)
    assert "batch 1 ÷ bare timm" in show(result)
    assert "MISSED t: 0.800, limit 0.750" in show(result)


def test_what_does_not_merge_into_a_backbone_is_timed_unmerged_only() -> None:
    assert bench.merged_copy(make_tiny_vit(), "ssf") is not None
    assert bench.merged_copy(make_tiny_vit(global_pool="avg"), "ssf") is None
    assert bench.merged_copy(make_tiny_vit(), "ila") is None
