"""Sharing on the hub, against a stand-in for it: what is uploaded, what is refused, what comes back."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from tiny_clips import clip_model
from tiny_training import tiny_backbone, tiny_model

import adapters_lib as al
from adapters_lib.saving.card import model_card
from adapters_lib.saving.header import CONFIG, WEIGHTS
from adapters_lib.saving.hub import is_hub_id

FILES = {WEIGHTS, CONFIG, "README.md"}


class Hub:
    """Repositories in memory with the calls of `HfApi` that are used."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.down = False

    def __call__(self, **_kwargs: object) -> "Hub":
        return self

    def repo_exists(self, repo_id: str) -> bool:
        if self.down:
            raise OSError("Network is unreachable")
        return repo_id in self.repos

    def list_repo_files(self, repo_id: str) -> list[str]:
        return list(self.repos[repo_id])

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.repos.setdefault(repo_id, {".gitattributes": b""})
        self.private.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        assert commit_message
        self.repos[repo_id] |= {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    fake = Hub()

    def fetch(repo_id: str, name: str, **_kwargs: object) -> str:
        if name not in fake.repos.get(repo_id, {}):
            raise LocalEntryNotFoundError(f"{repo_id} is not cached and the network is off")
        path = tmp_path / "cache" / repo_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fake.repos[repo_id][name])
        return str(path)

    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    return fake


@pytest.mark.parametrize("method", ["lora", "ssf", "adpt"])
def test_what_is_pushed_comes_back_with_equal_logits(hub: Hub, method: str) -> None:
    model = tiny_model(method).eval()
    assert (
        model.push_to_hub("someone/leaves", classes=["a", "b", "c", "d"])
        == "https://huggingface.co/someone/leaves"
    )
    assert set(hub.repos["someone/leaves"]) == FILES | {".gitattributes"}
    back = al.AdaptedViT.from_pretrained("someone/leaves", backbone=tiny_backbone())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(back(x), model(x))
    assert back.classes == ["a", "b", "c", "d"]


def test_an_adapter_that_is_there_is_never_overwritten_silently(hub: Hub) -> None:
    tiny_model("lora").push_to_hub("someone/leaves", private=True)
    before = dict(hub.repos["someone/leaves"])
    with pytest.raises(
        al.AdapterError, match=r"someone/leaves holds .*adapter_model.safetensors already; .*overwrite=True"
    ):
        tiny_model("adpt").push_to_hub("someone/leaves")
    assert hub.repos["someone/leaves"] == before
    tiny_model("adpt").push_to_hub("someone/leaves", overwrite=True)
    assert hub.repos["someone/leaves"] != before
    assert hub.private == {"someone/leaves": True}


def test_someones_card_is_not_replaced_either(hub: Hub) -> None:
    hub.repos["someone/notes"] = {"README.md": b"mine"}
    with pytest.raises(al.AdapterError, match="someone/notes holds README.md already"):
        tiny_model("lora").push_to_hub("someone/notes")
    assert hub.repos["someone/notes"] == {"README.md": b"mine"}


@pytest.mark.parametrize(
    "name", ["", "leaves", "a/b/c", "someone/", "some one/leaves", "../leaves", "someone/..", "x/" + 99 * "y"]
)
def test_a_name_that_is_no_repository_is_refused_at_once(hub: Hub, name: str) -> None:
    with pytest.raises(al.AdapterError, match='write "user/name"'):
        tiny_model("lora").push_to_hub(name)
    assert not is_hub_id(name)
    assert not hub.repos


def test_without_a_login_nothing_is_tried(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(al.AdapterError, match="nobody is logged in.*hf auth login.*HF_TOKEN.*token="):
        tiny_model("lora").push_to_hub("someone/leaves")
    assert not hub.repos
    tiny_model("lora").push_to_hub("someone/leaves", token="hf_other")
    assert "someone/leaves" in hub.repos


def test_a_merged_model_is_not_pushed(hub: Hub) -> None:
    with pytest.raises(al.AdapterError, match="merged"):
        tiny_model("lora").merge().push_to_hub("someone/leaves")
    assert not hub.repos


def test_what_the_hub_answers_is_explained(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.down = True
    with pytest.raises(
        al.AdapterError, match="could not be uploaded .*Network is unreachable.*network, and try again"
    ):
        tiny_model("lora").push_to_hub("someone/leaves")
    hub.down = False

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise HfHubHTTPError.__new__(HfHubHTTPError, "403 Forbidden: no right to write\nmore", response=None)

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(al.AdapterError, match="HfHubHTTPError.*rights of your token"):
        tiny_model("lora").push_to_hub("someone/leaves")


def test_a_name_that_is_neither_folder_nor_on_the_hub_says_both(hub: Hub) -> None:
    with pytest.raises(
        al.AdapterError, match="no folder 'someone/nothing', and no adapter of that name could be fetched"
    ):
        al.AdaptedViT.from_pretrained("someone/nothing")


def test_a_folder_comes_before_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model("lora").push_to_hub("someone/leaves")
    monkeypatch.chdir(tmp_path)
    local = tiny_model("adpt")
    local.save_pretrained("someone/leaves")
    assert al.AdaptedViT.from_pretrained("someone/leaves", backbone=tiny_backbone()).methods == local.methods


def test_the_card_says_method_options_backbone_data_and_classes() -> None:
    model = al.adapt(
        al.create_backbone("vit_tiny_patch16_224.augreg_in21k", pretrained=False),
        ["lora:rank=4", "ila"],
        2,
        head="bn_linear",
    )
    card = model_card(model, "someone/leaves", ["oak", "elm"], {"top1": 91.23456, "n": 50})
    assert card.startswith("---\n")
    header = card.split("---")[1]
    assert "base_model: timm/vit_tiny_patch16_224.augreg_in21k" in header
    assert "library_name: adapters-lib" in header
    assert "- ila" in header
    for part in (
        "`lora:rank=4`: rank 4, alpha 8",
        "samplings 2",
        "arXiv:2409.11051",
        "head `bn_linear`",
        "mean (0.5, 0.5, 0.5)",
        "2, numbered as the labels are:\n\n0. oak\n1. elm\n",
        'al.classify(model, "pictures")',
    ):
        assert part in card, part
    assert 'from_pretrained("someone/leaves")' in card
    assert "top1 91.23, n 50" in card


def test_the_card_says_what_was_trained_on_and_that_a_clip_model_is_one() -> None:
    model = al.adapt(al.create_backbone(), "linear", 2)
    assert "## Trained on" not in model_card(model, None)
    model.trained_on = {"data": "my_roses", "images": 64, "seed": 3, "options": {"half": True}}
    card = model_card(model, None)
    assert "## Trained on\n\nmy\\_roses: images 64, seed of the split 3, half True\n" in card
    assert "pipeline_tag: image-classification" in card
    clips = model_card(clip_model("linear"), None)
    assert "pipeline_tag: video-classification" in clips
    assert 'al.classify(model, "videos")' in clips


def test_names_on_the_card_show_as_they_are_and_many_are_not_all_listed() -> None:
    model = al.adapt(al.create_backbone(), "linear", 2)
    card = model_card(model, None, ["rose, *old*\n<script>", "# $5$ | [x](y)"])
    assert "0. rose, \\*old\\* \\<script\\>\n1. \\# \\$5\\$ \\| \\[x\\](y)\n" in card
    names = [f"class {number}" for number in range(1000)]
    many = model_card(al.adapt(al.create_backbone(), "linear", 1000), None, names)
    assert "199. class 199\n\n… and 800 more, see `adapter_config.json`" in many
    assert "model.classes = " not in many
    assert "model.classes = " in model_card(model, None)


def test_the_embedded_backbone_has_no_repository_of_its_own() -> None:
    assert "base_model" not in model_card(al.adapt(al.create_backbone(), "lora", 2), "someone/leaves")
