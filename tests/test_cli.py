"""Claims about the command line: pure JSON, one-line errors, and a train → evaluate round trip."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import timm
import torch

import adapters_lib.backbones.create
import adapters_lib.saving.checkpoint
from adapters_lib.cli import COMMANDS, main, plain
from adapters_lib.cli.arguments import key_value
from adapters_lib.methods import METHODS


@pytest.fixture
def tiny_backbone(monkeypatch):
    """Every backbone by name is one tiny ViT with fixed weights."""

    def create(name, pretrained=True, image_size=None, **options):
        sizes = {"img_size": image_size or 32, "patch_size": 8, "depth": 2, "embed_dim": 32, "num_heads": 2}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vit = timm.create_model("vit_tiny_patch16_224", **sizes)
        vit.adapters_lib_source = {"name": name, "kwargs": {}}
        return vit

    monkeypatch.setattr(adapters_lib.backbones.create, "create_backbone", create)
    monkeypatch.setattr(adapters_lib.saving.checkpoint, "create_backbone", create)


def answer(capsys, *argv: str) -> dict:
    """The JSON object on stdout of a command that succeeds."""
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *argv: str) -> str:
    """The one line on stderr of a command that fails with our exit code, nothing on stdout."""
    assert main([*argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


# ---- in a process of its own ---------------------------------------------------------------------


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "adapters_lib", *argv],
        capture_output=True,
        text=True,
        check=False,
    )


def test_cost_prints_one_json_object_with_the_numbers_of_the_ila_paper():
    done = command(
        "cost", "--backbone", "vit_base_patch16_224", "--method", "ila", "--classes", "198", "--json"
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["trainable"] == {"adapter": 40_496, "head": 152_262, "backbone": 768}
    assert printed["frozen"] == 85_797_888
    assert printed["tokens"] == [197, 145, 101]
    assert printed["flops"] == 2 * printed["macs"]
    assert printed["macs"] == pytest.approx(13.10e9, rel=0.001)


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from adapters_lib.cli import main\ntry: main(['--help'])\nexcept SystemExit:"
        " print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
    assert all(name in done.stdout for name in COMMANDS)


# ---- in this process -----------------------------------------------------------------------------


def test_methods_lists_every_method_with_options_and_source(capsys):
    methods = answer(capsys, "methods")["methods"]
    assert set(methods) == set(METHODS)
    assert methods["lora"]["options"]["rank"] == 8
    assert all(about["source"] and about["summary"] for about in methods.values())
    assert main(["methods"]) == 0
    assert "arXiv:2106.09685" in capsys.readouterr().out


def test_methods_combine_by_repeating_the_option(capsys):
    counted = answer(
        capsys,
        "cost",
        "--backbone",
        "vit_tiny_patch16_224",
        "--method",
        "ila:samplings=1",
        "--method",
        "lora:rank=2",
    )
    assert counted["methods"] == ["ila:samplings=1", "lora:rank=2"]
    assert counted["tokens"] == [197, 145]
    assert counted["trainable"]["adapter"] > 0


def test_cost_takes_an_image_size_and_needs_no_weights(capsys):
    counted = answer(
        capsys, "cost", "--backbone", "vit_base_patch16_224", "--image-size", "448", "--classes", "198"
    )
    assert counted["tokens"] == [785]
    assert counted["macs"] == pytest.approx(78.5e9, rel=0.001)
    assert "latency" not in counted
    assert "memory" not in counted


def test_cost_adds_latency_and_memory_on_request(capsys, tiny_backbone):
    options = [
        "cost",
        "--latency",
        "--memory",
        "--device",
        "cpu",
        "--repeats",
        "2",
        "--batch",
        "2",
        "--threads",
        "1",
    ]
    counted = answer(capsys, *options)
    assert counted["latency"]["batch"] == counted["memory"]["batch"] == 2
    assert counted["latency"]["device"] == "cpu"
    assert main(options) == 0
    assert "ms [" in capsys.readouterr().out


def test_what_a_command_prints_goes_to_stderr_under_json(capsys, monkeypatch):
    import adapters_lib.cli.methods as methods

    monkeypatch.setattr(methods, "run", lambda args: print("chatter") or {"n": float("nan"), "t": (1, 2)})
    assert main(["methods", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"n": None, "t": [1, 2]}
    assert err == "chatter\n"


def test_json_values_are_plain(tmp_path):
    assert plain({1: torch.tensor(2.5), "p": tmp_path, "x": [float("inf"), True, None]}) == {
        "1": 2.5,
        "p": str(tmp_path),
        "x": [None, True, None],
    }


def test_train_keeps_an_adapter_that_evaluate_loads_with_the_same_result(capsys, tmp_path, tiny_backbone):
    data = ["--data", "digits", "--n-per-class", "4", "--data-option", "augment=None"]
    recipe = ["--epochs", "2", "--lr", "0.01", "--recipe", "clip_norm=1.0"]
    training = ["train", *data, "--method", "adpt:bottleneck=4", *recipe, "--out", str(tmp_path)]
    trained = answer(capsys, *training)
    assert [row["epoch"] for row in trained["history"]] == [1, 2]
    assert trained["recipe"]["clip_norm"] == 1.0
    assert trained["data"]["train"] == 40
    assert trained["cost"]["tokens"] == [17]
    assert json.loads((tmp_path / "result.json").read_text()) == trained
    tested = answer(capsys, "evaluate", "--checkpoint", str(tmp_path), *data)
    assert {key: tested[key] for key in trained["test"]} == pytest.approx(trained["test"])
    resumed = answer(capsys, *training)
    assert resumed["history"] == trained["history"]


def test_a_preset_brings_its_head_which_an_option_may_change(capsys, tmp_path, tiny_backbone):
    data = ["--data", "digits", "--n-per-class", "4", "--data-option", "augment=None"]
    short = ["--epochs", "1", "--batch-size", "8", "--warmup-epochs", "0", "--recipe", "warmup_steps=1"]
    training = ["train", *data, "--method", "vpt-deep:prompts=2", "--preset", "vpt_paper", *short]
    for option, head in ([], "linear_kaiming"), (["--head", "bn_linear"], "bn_linear"):
        out = tmp_path / head
        assert answer(capsys, *training, *option, "--out", str(out))["head"] == head
        assert json.loads((out / "adapter_config.json").read_text())["head"] == head
        answer(capsys, "evaluate", "--checkpoint", str(out), *data)
    assert answer(capsys, "train", *data, "--epochs", "1")["head"] == "linear"


def test_evaluate_refuses_another_number_of_classes(capsys, tmp_path, tiny_backbone):
    from adapters_lib.methods.adapt import adapt

    adapt(adapters_lib.backbones.create.create_backbone("micro_vit"), "linear", 3).save_pretrained(tmp_path)
    assert "3 classes, but digits has 10" in complaint(
        capsys, "evaluate", "--checkpoint", str(tmp_path), "--data", "digits"
    )


def test_data_lists_describes_and_draws(capsys, tmp_path):
    assert {"leaves-ultra", "digits", "cifar100", "folder"} <= set(
        answer(capsys, "data", "list")["data_sets"]
    )
    assert answer(capsys, "data", "describe", "digits", "--image-size", "16")["classes"] == 10
    picture = tmp_path / "sheets" / "digits.png"
    assert answer(
        capsys, "data", "contact-sheet", "digits", "--out", str(picture), "--classes", "2", "--per-class", "2"
    )["out"] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["data", "describe", "digits"]) == 0
    assert "source" in capsys.readouterr().out
    assert main(["data", "--json", "list"]) == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        (["cost", "--method", "lorra"], "did you mean 'lora'"),
        (["cost", "--method", "lora:rnk=3"], "did you mean 'rank'"),
        (["cost", "--method", "lora:rank=many"], "rank"),
        (["cost", "--backbone", "vit_tinny_patch16_224"], "did you mean"),
        (["cost", "--backbone", "vit_tiny_patch16_224", "--classes", "0"], "at least 1 class"),
        (["cost", "--backbone", "vit_tiny_patch16_224", "--image-size", "100"], "100"),
        (
            ["cost", "--backbone", "vit_tiny_patch16_224", "--latency", "--device", "nowhere"],
            "leave --device out",
        ),
        (["cost", "--backbone", "vit_tiny_patch16_224", "--latency", "--threads", "0"], "threads=0"),
        (["train", "--recipe", "learning_rate=1"], "unknown recipe field"),
        (["train", "--epochs", "0"], "at least 1"),
        (["train", "--head", "linear_xavir"], "did you mean 'linear_xavier'"),
        (["data", "describe", "digitz"], "did you mean 'digits'"),
        (["data", "describe", "digits", "--data-option", "speed=3"], "speed"),
        (["data", "contact-sheet", "digits", "--out", "x.png", "--classes", "0"], "at least 1"),
        (["data", "contact-sheet", "digits", "--out", "x.nonsense"], "nonsense"),
        (["evaluate", "--checkpoint", "no/such/folder", "--data", "digits"], "no/such/folder"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(capsys, tmp_path, monkeypatch, argv, remedy):
    monkeypatch.chdir(tmp_path)
    assert remedy in complaint(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["cost", "--clases", "3"], ["train", "--data-option", "novalue"], ["data"]]
)
def test_wrong_arguments_exit_2_with_usage(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: python -m adapters_lib")


def test_ctrl_c_exits_130(capsys, monkeypatch):
    import adapters_lib.cli.methods as methods

    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(methods, "run", interrupted)
    assert main(["methods"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_pretrain_is_wired_to_its_module(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["pretrain", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert "--schedule" in out


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("a=3", ("a", 3)),
        ("val-fraction=0.5", ("val_fraction", 0.5)),
        ("x=None", ("x", None)),
        ("k=ultra", ("k", "ultra")),
        ("p=a=b", ("p", "a=b")),
    ],
)
def test_key_value_reads_literals_and_falls_back_to_text(text, pair):
    assert key_value(text) == pair
