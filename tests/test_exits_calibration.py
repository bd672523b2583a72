"""Thresholds from validation data: quotas, budgets, refusals; costs with every head on the way; controls;
the two commands; figures."""

import json

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import adapters_lib as al
from adapters_lib.benchmarks.exits import bench_exits, drawn_thresholds, spread_shares
from adapters_lib.cli import main
from adapters_lib.datasets.labelled import TensorImages, View
from adapters_lib.datasets.task import Task
from adapters_lib.exits.calibrate import (
    CalibrationWarning,
    calibrate,
    choose,
    measure,
    operating_points,
    quota_thresholds,
)
from adapters_lib.exits.controls import cost_curve, evaluate_point, fixed_depth_accuracy, random_exit_accuracy
from adapters_lib.exits.costs import ExitCosts, exit_costs
from adapters_lib.exits.policies import POLICIES
from adapters_lib.exits.predict import predict
from adapters_lib.exits.simulate import StoredExits
from adapters_lib.exits.stored_files import load_stored, save_stored
from adapters_lib.experiments import exit_study as study
from adapters_lib.experiments.exit_study import SETTINGS, _about, mean_block_by_granularity, run_study
from adapters_lib.experiments.run import read_table, unpack_hits
from adapters_lib.figures import exits as figures_exits
from adapters_lib.methods.dyn import ALONE

mpl.use("Agg")
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
COSTS = ExitCosts(
    blocks=(3, 6, 9, 12),
    macs=(100, 210, 320, 440),
    alone=(100, 205, 310, 400),
    full=400,
    head_parameters=(5, 5, 3, 3),
)


def _stored(n: int = 200, seed: int = 0) -> StoredExits:
    """Logits of exits that get better and surer with depth."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (n,), generator=generator)
    truth = nn.functional.one_hot(labels, 5).float()
    noise = torch.randn(4, n, 5, generator=generator)
    hardness = torch.rand(n, 1, generator=generator) * 2
    return StoredExits(
        torch.stack([truth * 2 * (k + 1) - hardness * truth + noise[k] for k in range(4)]), labels, COSTS
    )


def _vit() -> nn.Module:
    torch.manual_seed(0)
    return al.create_backbone("vit_tiny_patch16_224", pretrained=False, **TINY)


def _model() -> al.AdaptedViT:
    return al.adapt(_vit(), ["lora", "dyn:every=1"], 5, seed=0).eval()


def _task() -> Task:
    images = torch.randint(
        0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    parts = [
        TensorImages(images[i::3], torch.arange(len(images[i::3])) % 5, (0.5,) * 3, (0.5,) * 3)
        for i in range(3)
    ]
    return Task("noise", list("abcde"), *parts, data_config={"input_size": (3, 32, 32)}, synthetic=True)


def test_quotas_by_hand() -> None:
    sure = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.1, 0.2, 0.3, 0.4, 0.6, 0.5], [1.0] * 6])
    # 2 leave; of the other 4 those with 0.6 and 0.5.
    assert quota_thresholds(sure, (1 / 3, 1 / 3, 1 / 3)) == pytest.approx((0.75, 0.45))
    assert quota_thresholds(sure, (0, 1, 0)) == (1.0, 0.0)
    assert quota_thresholds(sure, (1, 0, 0)) == (0.0, 1.0)
    assert quota_thresholds(np.ones((2, 4)), (0.5, 0.5)) == (1.0,)  # equals are not torn apart: nobody leaves


@pytest.mark.parametrize("policy", POLICIES)
def test_the_curve_runs_from_the_first_exit_to_the_last_and_keeps_within_a_budget(policy: str) -> None:
    stored = _stored()
    points = operating_points(stored, policy)
    assert points[0].shares == (1, 0, 0, 0)
    assert points[-1].shares == (0, 0, 0, 1)
    assert [p.relative for p in points] == sorted(p.relative for p in points)
    for budget in (0.3, 0.5, 0.8, 1.0):
        point = choose(points, budget)
        assert point.relative <= budget
        assert measure(stored, point.thresholds, policy) == point
        # Patience has four values only, so that few operating points can be told apart.
        assert budget - point.relative < (0.3 if policy == "patience" else 0.03)


def test_the_best_point_is_the_most_accurate_and_of_equals_the_cheapest() -> None:
    points = operating_points(_stored())
    best = choose(points, None)
    assert best.top1 == max(p.top1 for p in points)
    assert best.macs == min(p.macs for p in points if p.top1 == best.top1)


@pytest.mark.parametrize("budget", [0.1, 1.2, float("nan")])
def test_a_budget_out_of_reach_names_the_range(budget: float) -> None:
    with pytest.raises(al.AdapterError, match=r"between 0\.250 and 1\.100 of the full depth"):
        choose(operating_points(_stored()), budget)


@pytest.mark.parametrize("budget", ["0.5", "best", True])
def test_a_budget_that_is_no_number_is_explained(budget) -> None:
    with pytest.raises(al.AdapterError, match=r"such as 0\.5, or None for the most accurate point"):
        choose(operating_points(_stored()), budget)


def test_thresholds_are_forgotten_when_the_weights_change() -> None:
    model, task = _model(), _task()
    calibrate(model, task.val, 0.6)
    al.fit(model, task.train, None, al.Recipe(epochs=1, batch_size=7), progress=False)
    with pytest.raises(al.AdapterError, match="no thresholds: pass them, or call"):
        predict(model, task.val.__getitems__([0])[0])


def test_calibration_refuses_test_and_training_images_and_warns_of_unknown_ones() -> None:
    model, task = _model(), _task()
    for part, message in ((task.test, "test images"), (task.train, "was trained on these images")):
        for data in (part, View(part, torch.arange(10)), al.subset(part, 1)):
            with pytest.raises(al.AdapterError, match=message):
                calibrate(model, data)
    unknown = TensorImages(task.val.images, task.val.labels, (0.5,) * 3, (0.5,) * 3)
    with pytest.warns(CalibrationWarning, match="cannot tell"):
        calibrate(model, unknown)
    with pytest.raises(al.AdapterError, match="3 validation images for 4 exits"):
        calibrate(model, View(task.val, torch.arange(3)))
    with pytest.raises(al.AdapterError, match="unknown exit policy 'entropie'; did you mean 'entropy'"):
        calibrate(model, task.val, policy="entropie")


def test_calibrated_thresholds_are_kept_with_the_model_and_used_by_predict(tmp_path) -> None:
    model, task = _model(), _task()
    point = calibrate(model, task.val, 0.6, "margin")
    model.save_pretrained(tmp_path)
    again = al.AdaptedViT.from_pretrained(tmp_path, backbone=_vit())
    assert again.extra["exits"]["thresholds"] == list(point.thresholds)
    images = task.val.__getitems__(range(len(task.val)))[0]
    got = predict(again, images)
    assert got.shares == pytest.approx(point.shares)
    assert got.macs.double().mean() == pytest.approx(point.macs)
    with pytest.raises(al.AdapterError, match="stored thresholds are for 'margin', not 'entropy'"):
        predict(again, images, policy="entropy")


def test_stored_logits_that_are_not_finite_are_refused() -> None:
    stored = _stored(20)
    stored.logits[2, 7] = float("nan")
    with pytest.raises(al.AdapterError, match="image 7 has NaN or infinite logits at exit 3"):
        StoredExits(stored.logits, stored.labels, COSTS)


def test_costs_of_vit_b_halve_near_block_6_and_count_every_head_on_the_way() -> None:
    """4.48, 8.84, 13.20 and 17.56 GMACs: the trunk of ViT-B/16 at 224 up to blocks 3, 6, 9 and 12."""
    with torch.device("meta"):
        bare = al.adapt(al.create_backbone("vit_base_patch16_224", pretrained=False), ALONE, 100)
    costs = exit_costs(bare)
    assert [round(m / 1e9, 2) for m in costs.alone] == pytest.approx([4.48, 8.84, 13.20, 17.56], abs=0.03)
    mlp, linear = 768 * 96 + 96 * 100 + 768, 768 * 100 + 768
    assert costs.full == costs.alone[-1]
    assert [a - b for a, b in zip(costs.macs, costs.alone, strict=True)] == [
        0,
        mlp,
        2 * mlp,
        2 * mlp + linear,
    ]
    assert costs.head_parameters == (2 * 768 + 768 * 96 + 96 + 96 * 100 + 100,) * 2 + (
        2 * 768 + 769 * 100,
        769 * 100,
    )
    assert costs.expected((0.5, 0.5, 0, 0)) == (costs.macs[0] + costs.macs[1]) / 2
    assert ExitCosts.from_dict(json.loads(json.dumps(costs.to_dict()))) == costs


def test_down_sampling_makes_the_later_blocks_cheaper() -> None:
    with torch.device("meta"):
        vits = [al.create_backbone("vit_base_patch16_224", pretrained=False) for _ in range(2)]
        plain, shrunk = (
            exit_costs(al.adapt(v, m, 100)).macs for v, m in zip(vits, ([ALONE], ["ila", "dyn"]), strict=True)
        )
    assert shrunk[3] - shrunk[2] < 0.6 * (plain[3] - plain[2])


def test_costs_equal_those_of_the_whole_model_and_follow_a_merge() -> None:
    model = _model()
    assert exit_costs(model).full == al.cost(model).macs
    before = exit_costs(model)
    model.merge()
    assert exit_costs(model).full < before.full


def test_controls_by_hand() -> None:
    stored = _stored()
    acc = stored.accuracies.tolist()
    assert random_exit_accuracy(stored, (0.5, 0, 0, 0.5)) == pytest.approx((acc[0] + acc[3]) / 2)
    assert fixed_depth_accuracy(stored, 205) == pytest.approx(acc[1])
    assert fixed_depth_accuracy(stored, 355) == pytest.approx((acc[2] + acc[3]) / 2)
    assert fixed_depth_accuracy(stored, 900) == pytest.approx(acc[3])


def test_confidence_beats_chance_where_it_should() -> None:
    """On exits that are surer of easy images, leaving by confidence wins over leaving at random at the
    same cost, on fresh images."""
    table = cost_curve(_stored(seed=1), _stored(seed=2))
    middle = table[(table["relative"] > 0.4) & (table["relative"] < 0.9)]
    assert (middle["top1"] - middle["random"]).mean() > 1
    evaluated = evaluate_point(_stored(seed=2), choose(operating_points(_stored(seed=1)), 0.5))
    assert evaluated["relative"] == pytest.approx(0.5, abs=0.06)
    assert sum(evaluated["shares"]) == pytest.approx(1)


def test_the_bench_counts_what_it_times() -> None:
    model = _model()
    images = torch.randn(12, 3, 32, 32)
    limits = drawn_thresholds(model, images, (0.5, 0.25, 0.25, 0), batch=4)
    result = bench_exits(model, images, limits, batch=4, warmup=0, repeats=2)
    assert result["shares"] == [0.5, 0.25, 0.25, 0]
    assert result["macs"] == pytest.approx(exit_costs(model).expected(result["shares"]))
    assert set(result["ms_per_image"]) == {"full", "exits", "never"}
    assert spread_shares(4) == (0.4, 0.3, 0.2, 0.1)
    with pytest.raises(al.AdapterError, match=r"give 4 numbers from 0 to 1 that sum to 1"):
        drawn_thresholds(model, images, (0.5, 0.5))


def test_the_study_writes_rows_once_and_keeps_logits(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study, "CURVE", 3)
    table = tmp_path / "exits.csv"
    options = {
        "settings": ["host", "naive", "all"],
        "epochs": 3,
        "data_options": {"n_train": 2, "n_val": 2, "n_test": 2, "species": 2, "cultivars": 2},
        "logits": tmp_path / "logits",
    }
    rows = run_study(table, "lora:rank=2", seeds=[0], **options)
    assert rows[["setting", "point"]].apply(tuple, axis=1).tolist() == [
        ("host", "full"),
        *[(setting, point) for setting in ("naive", "all") for point in ("full", "half", "best")],
    ]
    half = rows[rows["point"] == "half"]
    assert (half["relative"] < 0.9).all()
    assert half[["random", "fixed_depth", "coarse_block", "fine_block"]].notna().all().all()
    stamp = table.stat().st_mtime_ns
    run_study(table, "lora:rank=2", seeds=[0], **options)
    assert table.stat().st_mtime_ns == stamp
    there = run_study(table, "lora:rank=2", seeds=[0, 1], stored=True, **{**options, "settings": None})
    assert there["key"].tolist() == rows["key"].tolist()
    assert run_study(table, "lora:rank=4", stored=True).empty
    for folder in ("logits", "exits_logits"):
        stored = load_stored(tmp_path / folder / "all-0-test.safetensors")
        assert stored.part == "test"
        assert stored.accuracies[-1] == pytest.approx(rows["top1"].iloc[4])
    assert (half["ms"] > 0).all()
    hits = unpack_hits(rows["hits"].iloc[4], rows["n_test"].iloc[4])
    assert 100 * hits.mean() == pytest.approx(rows["top1"].iloc[4])
    curves = read_table(tmp_path / "exits_curves.csv")
    assert set(curves["setting"]) == {"naive", "all"}
    assert curves[["relative", "top1", "random", "fixed_depth", "ms", "full_ms"]].notna().all().all()
    with pytest.raises(al.AdapterError, match="unknown setting 'nave'; did you mean 'naive'"):
        run_study(table, settings=["nave"])


def test_runs_of_the_study_go_side_by_side_and_a_failing_one_is_named(tmp_path) -> None:
    options = {
        "epochs": 2,
        "data_options": {"n_train": 2, "n_val": 2, "n_test": 2, "species": 2, "cultivars": 2},
        "progress": False,
    }
    rows = run_study(tmp_path / "x.csv", "lora:rank=2", seeds=[0, 1], settings=["host"], jobs=2, **options)
    alone = run_study(tmp_path / "y.csv", "lora:rank=2", seeds=[1], settings=["host"], **options)
    assert rows["seed"].tolist() == [0, 1]
    assert alone["top1"].tolist() == rows["top1"].tolist()[1:]
    with pytest.raises(
        al.AdapterError,
        match=r"1 of 2 runs failed, the others are in .*naive, seed 0: AdapterError: dyn: at=.*block 13",
    ):
        run_study(
            tmp_path / "z.csv", "lora:rank=2", seeds=[0], settings=["host", "naive"], dyn="at=13", **options
        )
    assert read_table(tmp_path / "z.csv")["setting"].tolist() == ["host"]


def test_the_study_asks_a_host_only_for_sparsity_that_can_act(tmp_path) -> None:
    options = {
        "epochs": 2,
        "data_options": {"n_train": 2, "n_val": 2, "n_test": 2, "species": 2, "cultivars": 2},
        "progress": False,
    }
    rows = run_study(tmp_path / "x.csv", "ssf", seeds=[0], settings=["all"], **options)
    assert json.loads(rows["configuration"].iloc[0])["methods"] == ["ssf", "dyn:forward_sparsity=0"]
    assert _about(["ssf"], ["forward_sparsity"], None) == [
        name for name in SETTINGS if name != "+ forward sparsity"
    ]
    assert _about(["lora"], [], None) == list(SETTINGS)
    message = (
        r"setting '\+ backward sparsity': backward_sparsity has nothing to act on beside no host; leave the"
        r" setting out"
    )
    with pytest.raises(al.AdapterError, match=message):
        run_study(tmp_path / "x.csv", [], seeds=[0], settings=["+ backward sparsity"], **options)


def test_stored_logits_survive_a_file_in_half_precision(tmp_path) -> None:
    stored = _stored(10)
    save_stored(stored, tmp_path / "x.safetensors")
    again = load_stored(tmp_path / "x.safetensors")
    assert torch.equal(stored.logits.half().float(), again.logits)
    assert torch.equal(stored.labels, again.labels)
    assert again.costs == stored.costs


def test_where_coarse_and_fine_classes_leave() -> None:
    task = _task()
    task.info["granularity"] = [1.0, 1.0, 0.5, 0.1, 0.1]
    labels, blocks = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([3, 6, 9, 9, 12])
    assert mean_block_by_granularity(task, labels, blocks) == {"coarse_block": 4.5, "fine_block": 10.5}


def test_every_figure_of_the_exits_is_drawn(tmp_path) -> None:
    stored = _stored()
    limits = choose(operating_points(stored), 0.5).thresholds
    drawn = [
        figures_exits.exits_by_granularity(stored, limits, [1, 1, 0.5, 0.5, 0.1]),
        figures_exits.reliability_diagrams(stored),
        figures_exits.exit_curve({"a": cost_curve(stored, stored)}, full_depth=90),
        figures_exits.loss_weights(),
    ]
    for number, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{number}.png", dpi=50)


def test_the_commands_calibrate_evaluate_and_draw_the_curve(tmp_path, capsys) -> None:
    data = ["--data", "leaves-mixed"]
    for option in ("n_train=2", "n_val=3", "n_test=3", "species=2", "cultivars=2"):
        data += ["--data-option", option]
    folder = str(tmp_path / "run")
    assert (
        main(
            [
                "train",
                "--method",
                "lora:rank=2",
                "--method",
                "dyn",
                *data,
                "--epochs",
                "1",
                "--out",
                folder,
                "--json",
            ]
        )
        == 0
    )
    checkpoint = ["--checkpoint", folder]
    assert main(["exits", "evaluate", *checkpoint, *data]) == 2
    assert "no thresholds" in capsys.readouterr().err
    assert main(["exits", "calibrate", *checkpoint, *data, "--budget", "0.6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["relative"] <= 0.6
    assert main(["exits", "evaluate", *checkpoint, *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differ_from_simulation"] == 0
    figure, table = str(tmp_path / "curve.png"), str(tmp_path / "curve.csv")
    assert main(["exits", "curve", *checkpoint, *data, "--figure", figure, "--table", table]) == 0
    assert "fixed" in capsys.readouterr().out
    assert main(["exits", "curve", *checkpoint, *data, "--figure", figure, "--timed", "2", "--json"]) == 0
    assert all(point["ms"] > 0 for point in json.loads(capsys.readouterr().out)["points"])
    timed = ["bench", "exits", *checkpoint, *data, "--images", "4", "--rounds", "2", "--batch", "2", "--json"]
    assert main(timed) == 0
    assert {"realised", "overhead", "top1"} <= json.loads(capsys.readouterr().out)["results"][0].keys()
    assert main(["exits", "calibrate", *checkpoint, *data, "--budget", "9"]) == 2
    assert "can lie between" in capsys.readouterr().err
