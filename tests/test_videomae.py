"""VideoMAE weights, in the layouts in which they are published, become a clip backbone that computes the
same."""

import math
from collections.abc import Callable

import pytest
import torch
from conftest import make_tiny_vit
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import adapters_lib as al
from adapters_lib.backbones.clips import to_clip_model
from adapters_lib.backbones.videomae import videomae_state

WIDTH, HEADS, DEPTH, TOKENS = 32, 2, 4, 64


def clip_vit() -> nn.Module:
    return to_clip_model(make_tiny_vit(patch_size=8, num_classes=5))


def published(prefix: str = "", norm: str = "fc_norm") -> dict[str, Tensor]:
    """Weights with the names and shapes of the authors' code, drawn anew."""
    shapes = {"patch_embed.proj.weight": (WIDTH, 3, 2, 8, 8), "patch_embed.proj.bias": (WIDTH,)}
    for i in range(DEPTH):
        shapes |= {f"blocks.{i}.{n}.{p}": (WIDTH,) for n in ("norm1", "norm2") for p in ("weight", "bias")}
        shapes |= {
            f"blocks.{i}.attn.q_bias": (WIDTH,),
            f"blocks.{i}.attn.v_bias": (WIDTH,),
            f"blocks.{i}.attn.qkv.weight": (3 * WIDTH, WIDTH),
        }
        shapes |= {f"blocks.{i}.attn.proj.weight": (WIDTH, WIDTH), f"blocks.{i}.attn.proj.bias": (WIDTH,)}
        shapes |= {f"blocks.{i}.mlp.fc1.weight": (4 * WIDTH, WIDTH), f"blocks.{i}.mlp.fc1.bias": (4 * WIDTH,)}
        shapes |= {f"blocks.{i}.mlp.fc2.weight": (WIDTH, 4 * WIDTH), f"blocks.{i}.mlp.fc2.bias": (WIDTH,)}
    shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    generator = torch.Generator().manual_seed(3)
    return {prefix + name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def transformers_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as the transformers library names and cuts them."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("patch_embed"):
            renamed["videomae.embeddings.patch_embeddings.projection." + name.rpartition(".")[2]] = tensor
        elif name.startswith("blocks"):
            _, number, rest = name.split(".", 2)
            layer = f"videomae.encoder.layer.{number}."
            if rest == "attn.qkv.weight":
                for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                    renamed[f"{layer}attention.attention.{part}.weight"] = rows
                continue
            for old, new in {
                "attn.proj": "attention.output.dense",
                "attn": "attention.attention",
                "mlp.fc1": "intermediate.dense",
                "mlp.fc2": "output.dense",
                "norm1": "layernorm_before",
                "norm2": "layernorm_after",
            }.items():
                if rest.startswith(old + "."):
                    renamed[layer + new + rest[len(old) :]] = tensor
                    break
        else:
            renamed[name] = tensor
    return renamed


def adaptformer_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as the code of AdaptFormer and PAdapter names and cuts them."""
    divided = {}
    for name, tensor in state.items():
        if name.endswith("attn.qkv.weight"):
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                divided[name.replace("qkv", f"{part}_proj")] = rows
        else:
            divided[name.replace(".mlp.", ".")] = tensor
    return divided


def by_hand(w: dict[str, Tensor], clips: Tensor) -> Tensor:
    """VideoMAE's forward pass as its paper and code define it: features (B, D) behind the pooling and the
    norm."""
    x = (
        F.conv3d(clips, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=(2, 8, 8))
        .flatten(2)
        .transpose(1, 2)
    )
    angle = torch.arange(TOKENS, dtype=torch.float64)[:, None] / 10000 ** (
        2 * (torch.arange(WIDTH) // 2) / WIDTH
    )
    x = x + torch.where(torch.arange(WIDTH) % 2 == 0, angle.sin(), angle.cos()).float()
    for i in range(DEPTH):
        b = {
            name.removeprefix(f"blocks.{i}."): tensor
            for name, tensor in w.items()
            if name.startswith(f"blocks.{i}.")
        }
        h = F.layer_norm(x, (WIDTH,), b["norm1.weight"], b["norm1.bias"], eps=1e-6)
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in (h @ b["attn.qkv.weight"].T).chunk(3, dim=-1)
        )
        q = q + b["attn.q_bias"].view(HEADS, 1, -1)
        v = v + b["attn.v_bias"].view(HEADS, 1, -1)
        attention = (q @ k.transpose(-2, -1) / math.sqrt(WIDTH / HEADS)).softmax(-1)
        x = x + F.linear(
            (attention @ v).transpose(1, 2).flatten(2), b["attn.proj.weight"], b["attn.proj.bias"]
        )
        h = F.layer_norm(x, (WIDTH,), b["norm2.weight"], b["norm2.bias"], eps=1e-6)
        h = F.gelu(F.linear(h, b["mlp.fc1.weight"], b["mlp.fc1.bias"]))
        x = x + F.linear(h, b["mlp.fc2.weight"], b["mlp.fc2.bias"])
    return F.layer_norm(x.mean(1), (WIDTH,), w["fc_norm.weight"], w["fc_norm.bias"], eps=1e-6)


LAYOUTS = ["fine-tuned", "pre-training", "transformers", "adaptformer", "half precision"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_gives_videomaes_features(layout: str) -> None:
    weights = published()
    given = {
        "fine-tuned": {**weights, "head.weight": torch.zeros(174, WIDTH), "head.bias": torch.zeros(174)},
        "pre-training": {
            **published("encoder.", norm="norm"),
            "mask_token": torch.zeros(1, 1, 16),
            "decoder.blocks.0.attn.q_bias": torch.zeros(16),
            "encoder_to_decoder.weight": torch.zeros(16, WIDTH),
        },
        "transformers": {**transformers_names(weights), "classifier.weight": torch.zeros(174, WIDTH)},
        "adaptformer": adaptformer_names(published("encoder.", norm="norm")),
        "half precision": {name: tensor.half() for name, tensor in weights.items()},
    }[layout]
    vit = clip_vit()
    aside = al.load_videomae(vit, given)
    assert {name.split(".")[0] for name in aside} <= {
        "head",
        "decoder",
        "mask_token",
        "encoder_to_decoder",
        "classifier",
    }
    in_parts = 2 * DEPTH if layout in ("transformers", "adaptformer") else 0
    assert len(aside) == len(given) - (len(weights) + in_parts)
    clips = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))
    if layout == "half precision":
        weights = {name: tensor.half().float() for name, tensor in weights.items()}
    torch.testing.assert_close(
        vit.forward_head(vit.forward_features(clips), pre_logits=True), by_hand(weights, clips)
    )
    assert al.adapt(vit, "padapter", 3).data_config["mean"] == (0.485, 0.456, 0.406)


def test_a_file_with_queries_keys_and_values_apart_gives_the_logits_of_the_fused_one(tmp_path) -> None:
    head = {"head.weight": torch.randn(5, WIDTH), "head.bias": torch.randn(5)}
    logits = []
    for name, state in (("fused", published()), ("apart", adaptformer_names(published()))):
        path, vit = tmp_path / f"{name}.safetensors", clip_vit()
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
        assert al.load_videomae(vit, path) == []
        vit.load_state_dict(head, strict=False)
        logits.append(vit(torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))))
    assert torch.equal(*logits)


def test_biases_may_stand_with_their_projections_the_keys_too() -> None:
    state = adaptformer_names(published())
    for block in range(DEPTH):
        owner = f"blocks.{block}.attn."
        for part in "qv":
            state[f"{owner}{part}_proj.bias"] = state.pop(f"{owner}{part}_bias")
    without, _ = videomae_state(state)
    fused, _ = videomae_state(published())
    assert without.keys() == fused.keys()
    assert all(torch.equal(without[name], fused[name]) for name in fused)
    state["blocks.1.attn.k_proj.bias"] = torch.ones(WIDTH)
    _, key, _ = videomae_state(state)[0]["blocks.1.attn.qkv.bias"].chunk(3)
    assert torch.equal(key, torch.ones(WIDTH))


def test_a_key_has_no_bias() -> None:
    state, _ = videomae_state(published())
    q, k, v = state["blocks.1.attn.qkv.bias"].chunk(3)
    assert torch.equal(q, published()["blocks.1.attn.q_bias"])
    assert not k.any()
    assert torch.equal(v, published()["blocks.1.attn.v_bias"])


def test_a_backbone_created_from_a_file_comes_back_when_one_says_where_the_file_is(tmp_path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(published(), path)
    options = {"patch_size": 8, "img_size": 32, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    vit = al.create_clip_backbone("vit_tiny_patch16_224", weights=str(path), **options)
    model = al.adapt(vit, "padapter:position=a_m_p,bottleneck=4", 3).eval()
    model.save_pretrained(tmp_path / "adapter")
    clips = torch.randn(2, 3, 8, 32, 32)
    assert torch.equal(al.AdaptedViT.from_pretrained(tmp_path / "adapter", weights=path)(clips), model(clips))
    with pytest.raises(
        al.AdapterError, match=r"trained on the weights weights.safetensors; say where they are: .*weights="
    ):
        al.AdaptedViT.from_pretrained(tmp_path / "adapter")


def _also_in_parts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {f"blocks.0.attn.{part}_proj.weight": torch.ones(WIDTH, WIDTH) for part in "qkv"}


def _without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name: tensor for name, tensor in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("blocks.2.mlp.fc1.bias"), r"lack 1 of \d+ tensors, first 'blocks.2.mlp.fc1.bias'"),
        (_without("blocks.0.attn.q_bias"), "have blocks.0.attn.v_bias but no blocks.0.attn.q_bias"),
        (
            _without("blocks.0.attn.q_bias", "blocks.0.attn.v_bias"),
            "first 'blocks.0.attn.qkv.bias'; was it trained without biases",
        ),
        (_without("fc_norm.weight", "fc_norm.bias"), "lack 2 .*'fc_norm.weight'"),
        (
            lambda s: s | {"blocks.0.gamma_1": torch.ones(WIDTH)},
            "1 tensors that the backbone does not have, first 'blocks.0.gamma_1'",
        ),
        (lambda s: s | {"blocks.4.norm1.weight": torch.ones(WIDTH)}, "blocks.4.norm1.weight"),
        (lambda s: _without("blocks.2.attn.k_proj.weight")(adaptformer_names(s)), "no blocks.2.attn.k_proj"),
        (_also_in_parts, "'blocks.0.attn.qkv.weight' as a whole and in parts"),
        (lambda s: s | {"module.fc_norm.bias": torch.ones(WIDTH)}, "'module.fc_norm.bias' is the second"),
        (
            lambda s: s | {"patch_embed.proj.weight": torch.ones(WIDTH, 3, 4, 8, 8)},
            "(32, 3, 4, 8, 8).*take the same tubelet",
        ),
        (lambda s: s | {"pos_embed": torch.ones(1, 128, WIDTH)}, "pos_embed.*take the same frames"),
        (lambda s: {}, "lack"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_change_nothing(change: Callable, message: str) -> None:
    vit = clip_vit()
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    with pytest.raises(al.AdapterError, match=message):
        al.load_videomae(vit, change(published()))
    assert all(torch.equal(before[name], tensor) for name, tensor in vit.state_dict().items())


def test_files_that_cannot_be_read_and_models_that_cannot_take_them_are_refused(tmp_path) -> None:
    (tmp_path / "a.pth").write_bytes(b"pickle")
    (tmp_path / "b.safetensors").write_bytes(b"1234567890")
    for name, message in (
        ("a.pth", "convert it once"),
        ("b.safetensors", "cannot read"),
        ("c.safetensors", "cannot read"),
    ):
        with pytest.raises(al.AdapterError, match=message):
            al.load_videomae(clip_vit(), tmp_path / name)
    with pytest.raises(al.AdapterError, match="no clip backbone"):
        al.load_videomae(make_tiny_vit(), published())
    adapted = al.adapt(clip_vit(), "lora", 3)
    with pytest.raises(al.AdapterError, match="load the weights first"):
        al.load_videomae(adapted.backbone, published())
