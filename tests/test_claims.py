"""Verdicts on made-up tables: shown, refuted, undecided, or not enough runs; and only rows of the present
budget count."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up_tables import made_up, store

import adapters_lib as al
from adapters_lib import cli
from adapters_lib.experiments import claims
from adapters_lib.experiments.claims import Comparison, compared, decide
from adapters_lib.experiments.grids import ALL_METHODS, EQUAL_SIZES, GRIDS
from adapters_lib.experiments.run import pack_hits
from adapters_lib.experiments.statistics import Bootstrap, Interval
from adapters_lib.training.offline_recipes import BUDGET, CLIPS_BUDGET, Budget

IMAGES = 2000


def _row(method: str, seed: int, right: int, budget: Budget = BUDGET, **more: object) -> dict:
    """A run that answers the first `right` of the images, each seed in its own order but the same for all
    methods."""
    order = np.random.default_rng(seed).permutation(IMAGES)
    hits = torch.zeros(IMAGES, dtype=torch.bool)
    hits[order[:right]] = True
    configuration = {
        "data": "leaves-ultra",
        "data_options": {"n_train": budget.images},
        "recipe": {"epochs": budget.passes},
    }
    row = {
        "key": f"{method}-{seed}",
        "method": method,
        "data": "leaves-ultra",
        "seed": seed,
        "top1": 100 * right / IMAGES,
    }
    settings = {
        "n_test": IMAGES,
        "hits": pack_hits(hits),
        "macs": 7.0 if method.startswith("ila") else 10.0,
        "version": al.__version__,
    }
    return {**row, **settings, "precision": "no", "configuration": json.dumps(configuration), **more}


def _rows(method: str, right: int, seeds: int = 10, spread: int = 10) -> list[dict]:
    return [_row(method, seed, right + spread * (-1) ** seed) for seed in range(seeds)]


def _methods(folder: Path, **right: int) -> dict[str, claims.Claim]:
    """The claims from a grid `methods` in which every method answers 1,400 images rightly unless told
    otherwise."""
    numbers = dict.fromkeys(ALL_METHODS, 1400) | {"linear": 1200} | right
    zeros = {run.name for run in GRIDS["methods"]() if "start=zero" in run.name}
    numbers |= {name: numbers[name.partition(":")[0]] for name in zeros}
    rows = [
        row
        for name, number in numbers.items()
        for row in _rows(name, number, spread=10 if name != "linear" else 0)
    ]
    pd.DataFrame(rows).to_csv(folder / "methods.csv", index=False)
    return {claim.name: claim for claim in decide(folder)}


def _comparison(
    kind: str, mean: float, half: float, n: int = 10, images: Bootstrap | None = None
) -> Comparison:
    return Comparison("a − b", kind, Interval(mean, half, n), images, 1.0, 10)


@pytest.mark.parametrize(
    ("kind", "mean", "half", "verdict"),
    [
        ("wins", 2.0, 0.5, "shown"),
        ("wins", 0.4, 0.5, "refuted"),  # no win of as much as a point
        ("wins", 0.4, 0.7, "undecided"),
        ("wins", -2.0, 1.5, "refuted"),
        ("holds", 0.0, 0.9, "shown"),
        ("holds", 0.0, 1.1, "undecided"),
        ("holds", 3.0, 1.5, "shown"),
        ("holds", -2.0, 0.5, "refuted"),
        ("holds", -0.9, 0.5, "refuted"),
    ],
)
def test_the_target_is_the_margin_of_a_verdict(kind: str, mean: float, half: float, verdict: str) -> None:
    assert _comparison(kind, mean, half).verdict == verdict
    assert _comparison(kind, mean, half, n=9).verdict == "not enough runs"


def test_both_intervals_must_carry_a_verdict() -> None:
    apart = Bootstrap(2.0, -0.1, 4.0, IMAGES, 10)
    assert _comparison("wins", 2.0, 0.5).verdict == "shown"
    assert _comparison("wins", 2.0, 0.5, images=apart).verdict == "undecided"
    assert _comparison("wins", 2.0, 0.5, images=apart).span == (-0.1, 4.0)


def test_a_method_that_is_as_good_at_fewer_macs_holds_and_one_that_loses_points_does_not(
    tmp_path: Path,
) -> None:
    claim = _methods(tmp_path)["ila++"]
    assert claim.verdict == "shown"
    assert claim.comparisons[0].seeds.mean == 0
    assert claim.comparisons[0].images.images == IMAGES
    assert claim.note == "MACs of ILA++ over those of ADPT: 0.70"
    assert _methods(tmp_path, **{"ila++": 1320})["ila++"].verdict == "refuted"


def test_every_adapter_beats_the_probe_or_the_claim_falls_with_the_one_that_does_not(tmp_path: Path) -> None:
    claim = _methods(tmp_path)["probe"]
    assert claim.verdict == "shown"
    assert len(claim.comparisons) == 19
    assert claim.to_dict()["mean"] == pytest.approx(10.0)
    fallen = _methods(tmp_path, bitfit=1100)["probe"]
    assert fallen.verdict == "refuted"
    assert fallen.comparisons[0].about == "bitfit − linear"  # the weakest leads
    assert fallen.note == "18 shown, 1 refuted, of 19 methods"


def test_three_methods_without_runs_are_too_many_and_two_are_not(tmp_path: Path) -> None:
    _methods(tmp_path)
    table = pd.read_csv(tmp_path / "methods.csv", dtype={"hits": str})
    for lacking, verdict in ((["vqt", "ssf"], "shown"), (["vqt", "ssf", "bitfit"], "not enough runs")):
        table[~table["method"].isin(lacking)].to_csv(tmp_path / "methods.csv", index=False)
        assert {claim.name: claim for claim in decide(tmp_path)}["probe"].verdict == verdict


def test_an_adapter_of_equal_size_is_beaten_by_all_or_the_claim_is_not_shown(tmp_path: Path) -> None:
    own, *others = EQUAL_SIZES
    for right, verdict in ((1500, "shown"), (1400, "refuted")):
        rows = _rows(own, right) + [row for other in others for row in _rows(other, 1400)]
        pd.DataFrame(rows).to_csv(tmp_path / "padapter.csv", index=False)
        claim = {claim.name: claim for claim in decide(tmp_path)}["padapter"]
        assert claim.verdict == verdict
        # What the prompt does.
        assert [comparison.counts for comparison in claim.comparisons[-2:]] == [False, False]


def _exits(folder: Path, gain: float = 0.0, random: float = -5.0) -> None:
    for name, host, budget, seeds in (
        ("exits", "lora", BUDGET, 10),
        ("video_exits", "padapter", CLIPS_BUDGET, 5),
    ):
        rows = []
        for seed in range(seeds):
            same = {"host": host, "setting": "host", "point": "full"}
            rows.append(_row("", seed, 1400, budget, **same))
            for setting in ("all", "naive"):
                top1 = 70 + gain + 0.2 * (-1) ** seed
                at_equal_cost = {"random": top1 + random, "fixed_depth": top1 - 4}
                columns = {**same, "setting": setting, "point": "half", "key": f"{setting}{seed}"}
                rows.append(
                    _row("", seed, 1400, budget, **columns) | {"top1": top1, "hits": "", **at_equal_cost}
                )
        pd.DataFrame(rows).drop(columns="method").to_csv(folder / f"{name}.csv", index=False)


def test_half_the_macs_at_no_loss_and_better_than_the_controls_on_leaves_and_on_clips(tmp_path: Path) -> None:
    def verdict() -> str:
        return {claim.name: claim for claim in decide(tmp_path)}["dyn"].verdict

    _exits(tmp_path)
    assert verdict() == "shown"
    _exits(tmp_path, gain=-3)
    assert verdict() == "refuted"
    _exits(tmp_path, random=0.5)  # random exits are better: the thresholds do nothing
    assert verdict() == "refuted"
    _exits(tmp_path)
    (tmp_path / "video_exits.csv").unlink()
    assert verdict() == "not enough runs"


def test_exits_are_compared_with_the_strongest_network_cut_off_as_well(tmp_path: Path) -> None:
    _exits(tmp_path, gain=1)
    claim = {claim.name: claim for claim in decide(tmp_path)}["dyn"]
    about = "half the MACs − naive exits at a fixed depth, leaves"
    (found,) = (each for each in claim.comparisons if each.about == about)
    assert found.seeds.mean == pytest.approx(4)  # of the naive run, four points below it
    assert not found.counts


def test_rows_of_another_budget_or_version_do_not_count(tmp_path: Path) -> None:
    _methods(tmp_path)
    table = pd.read_csv(tmp_path / "methods.csv", dtype={"hits": str})
    old = table.assign(version="0.0.1")
    short = table.assign(configuration=table["configuration"].str.replace('"n_train": 120', '"n_train": 60'))
    for rows in (old, short):
        rows.to_csv(tmp_path / "methods.csv", index=False)
        assert {claim.verdict for claim in decide(tmp_path)} == {"not enough runs"}
    pd.concat([short.assign(key=short["key"] + "s"), table]).to_csv(tmp_path / "methods.csv", index=False)
    assert {claim.name: claim for claim in decide(tmp_path)}["ila++"].verdict == "shown"


def test_methods_are_paired_on_the_seeds_that_both_have() -> None:
    rows = pd.DataFrame(_rows("linear", 1200, seeds=10) + _rows("lora", 1400, seeds=5))
    comparison = compared(rows, "lora", "linear", "wins", 1.0, 5)
    assert (comparison.seeds.n, comparison.images.seeds) == (5, 5)
    assert comparison.seeds.mean == pytest.approx(10)
    missing = compared(rows, "lora", "vqt", "wins", 1.0, 5)
    assert missing.seeds.n == 0
    assert missing.verdict == "not enough runs"


def test_made_up_tables_of_the_real_grids_are_decided_without_an_error(tmp_path: Path) -> None:
    folder = store(tmp_path, "methods", "padapter")
    by_name = {claim.name: claim for claim in decide(folder)}
    assert by_name["ila++"].comparisons[0].seeds.n == 10
    assert by_name["dyn"].verdict == "not enough runs"
    assert len(made_up("methods")) > 100


def test_the_command_prints_a_verdict_a_claim_as_text_and_as_json(tmp_path: Path, capsys) -> None:
    _methods(tmp_path)
    assert cli.main(["results", "claims", "--folder", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("SHOWN: ILA++ holds ADPT's accuracy at 30 % fewer MACs")
    assert "ila++ − adpt: +0.00 ± 0.00 (n = 10 of 10; target ± 1.0); over images [" in printed
    assert "NOT ENOUGH RUNS: Dyn-Adapter" in printed
    assert "no runs of the present budget: half the MACs − host, leaves; half the MACs − random" in printed
    assert "nan" not in printed
    assert cli.main(["results", "claims", "--folder", str(tmp_path), "--json"]) == 0
    decided = json.loads(capsys.readouterr().out)["claims"]
    assert [claim["claim"] for claim in decided] == ["ila++", "probe", "padapter", "dyn"]
    assert {"mean", "half_width", "n", "target", "verdict", "sentence", "comparisons"} < set(decided[0])
    assert decided[3]["mean"] is None
    assert math.isfinite(decided[0]["half_width"])
