"""Parameter, token and MAC counts: the papers' numbers at ViT-B/16, and closed forms at every other size."""

import pytest
import torch
from conftest import make_tiny_vit
from hypothesis import given, settings, strategies as st

import adapters_lib as al
from adapters_lib.backbones.create import meta_backbone
from adapters_lib.methods import Method, parse_method


def trained(model: al.AdaptedViT) -> int:
    """Trainable parameters without the head."""
    groups = model.parameter_groups()
    return sum(p.numel() for role in ("adapter", "backbone") for _, p in groups[role])


PAPERS = {
    "full": 85_798_656,
    "linear": 0,
    "bitfit": 102_912,
    "layernorm": 38_400,
    "vpt-shallow:class_token=true": 77_568,
    "vpt-deep:class_token=true": 922_368,
    "vpt-shallow": 76_800,
    "vpt-deep": 921_600,
    "vqt": 12 * 768,
    "houlsby": 12 * 2 * (2 * 768 * 64 + 64 + 768),
    "houlsby:bottleneck=8": 12 * 2 * 13_064,
    "pfeiffer": 12 * (2 * 768 * 48 + 48 + 768),
    "adpt": 314_304,
    "adaptformer": 1_189_632,
    "adapter+": 165_984,
    "lora": 294_912,
    "lora:targets=qkv": 12 * 8 * (768 + 2304),
    "lora:targets=q/v/proj/fc1/fc2,rank=4": 12 * 4 * (2 * 1536 + 1536 + 2 * 3840),
    "repadapter": 12 * 2 * (768 * 8 + 8 + 768 * 4 + 768),
    "ssf": 205_824,
    "convpass:class_token=true": 328_320,
    "ila": 41_264,
    "ila+": 174_624,
    "ila++": 354_800,
    "padapter": 969_996,
    "padapter:form=p_x_p": 1_340_556,
    "padapter:form=p_2x_p": 1_930_764,
    "padapter:form=p_2x_p,mode=cat": 1_930_764,
    "padapter:learn_scale=false": 969_984,
    "padapter:num_tokens=1": 12 * (768 * 32 + 32 + 32 + 64 * 768 + 768 + 1),
}


@pytest.mark.parametrize("method", PAPERS)
def test_vit_base_trains_as_many_parameters_as_the_paper_says(method: str) -> None:
    assert trained(al.adapt(meta_backbone("vit_base_patch16_224"), method, 10)) == PAPERS[method]


def test_one_module_of_the_ila_paper_has_its_published_size() -> None:
    model = al.adapt(meta_backbone("vit_base_patch16_224"), "ila+", 10)
    sizes = [sum(p.numel() for p in sites.at["leave"].parameters()) for sites in model.sites]
    assert sizes == [13_336] * 3 + [20_248] + [13_336] * 3 + [20_248] + [13_336] * 4
    model = al.adapt(meta_backbone("vit_base_patch16_224"), ["adpt", "convpass"], 10)
    one, other = model.sites[0].at["beside_mlp"]
    assert sum(p.numel() for p in one.parameters()) == 13_064
    assert sum(p.numel() for p in other.parameters()) == 13_648


@pytest.mark.parametrize(
    ("method", "image_size", "tokens", "gmacs"),
    [
        ("linear", 224, [197], 17.57),
        ("ila", 224, [197, 145, 101], 13.10),
        ("ila+", 224, [197, 145, 101], 13.11),
        ("ila++", 224, [197, 145, 101], 13.14),
        ("adpt", 224, [197], 17.63),
        ("linear", 448, [785], 78.5),
        ("ila", 448, [785, 677, 577], 66.9),
        ("ila+", 448, [785, 677, 577], 67.0),
        ("ila++", 448, [785, 677, 577], 67.1),
    ],
)
def test_tokens_and_gmacs_of_the_ila_paper(
    method: str, image_size: int, tokens: list[int], gmacs: float
) -> None:
    model = al.adapt(meta_backbone("vit_base_patch16_224", image_size=image_size), method, 198)
    counted = al.cost(model)
    assert model.token_counts() == counted.tokens == tokens
    assert counted.macs / 1e9 == pytest.approx(gmacs, abs=0.0051 if image_size == 224 else 0.051)


def test_padapter_costs_174_million_macs_an_image_as_its_paper_says() -> None:
    bare = al.cost(al.adapt(meta_backbone("vit_base_patch16_224"), "linear", 10)).macs
    assert (
        al.cost(al.adapt(meta_backbone("vit_base_patch16_224"), "padapter", 10)).macs - bare
        == 12 * 73_728 * 197
    )


def _bottleneck(d: int, r: int) -> int:
    return 2 * d * r + r + d


def _ila_module(d: int, a: int, down: bool) -> int:
    main = (d * a + a) + 2 * a + (a * a + a) + (9 * a + a) + 2 * a + (a * a + a) + 2 * a + (a * d + d)
    return main + (9 * d if down else 0)


def closed_form(method: Method, d: int, blocks: int, side: int, patch: int) -> int:
    """Trained parameters of a ViT of width d with mlp_ratio 4, a class token and side² patches."""
    o, tokens = method, side * side + 1
    linears = 2 * 2 * d  # not a layer: norms of one block, weights and biases
    outputs = d + 3 * d + d + d + 4 * d + d  # norm1, qkv, proj, norm2, fc1, fc2
    match o:
        case al.BitFit():
            return d + blocks * outputs + d
        case al.LayerNormTuning():
            return blocks * linears + 2 * d
        case al.VPTDeep():
            return blocks * o.prompts * d
        case al.VPTShallow():
            return o.prompts * d
        case al.VQT():
            return blocks * o.prompts * d
        case al.Houlsby():
            return blocks * 2 * _bottleneck(d, o.bottleneck)
        case al.Pfeiffer():
            return blocks * _bottleneck(d, o.bottleneck or max(1, d // 16))
        case al.ADPT():
            return blocks * 2 * _bottleneck(d, o.bottleneck) + d
        case al.AdaptFormer():
            return blocks * _bottleneck(d, o.bottleneck)
        case al.AdapterPlus():
            return blocks * (_bottleneck(d, o.bottleneck) + d)
        case al.LoRA():
            return blocks * 2 * o.rank * 2 * d
        case al.RepAdapter():
            return blocks * 2 * (d * o.bottleneck + o.bottleneck + d * o.bottleneck // o.groups + d)
        case al.SSF():
            return 2 * (d + blocks * outputs + d)
        case al.ConvPass():
            return blocks * 2 * (_bottleneck(d, o.bottleneck) + 9 * o.bottleneck**2 + o.bottleneck)
        case al.ILAPlusPlus():
            return 2 * _ila_module(d, o.bottleneck, True) + blocks * 2 * _bottleneck(d, o.bottleneck) + d
        case al.ILAPlus():
            return (
                2 * _ila_module(d, o.bottleneck, True)
                + (blocks - 2) * _ila_module(d, o.bottleneck, False)
                + d
            )
        case al.ILA():
            return 2 * _ila_module(d, o.bottleneck, True) + d
        case al.PAdapter():
            r, (ups, prompts) = o.bottleneck, {"x_p": (2, 1), "p_x_p": (3, 2), "p_2x_p": (4, 2)}[o.form]
            downs = 2 * r if o.form == "p_2x_p" else r
            return blocks * (d * downs + downs + prompts * tokens * r + ups * r * d + d + 1)
    raise AssertionError(f"no closed form for {o}")


SIZED = [
    "houlsby",
    "pfeiffer",
    "adpt",
    "adaptformer",
    "adapter+",
    "repadapter",
    "convpass",
    "ila",
    "ila+",
    "ila++",
    "padapter",
]
SIZED += ["padapter:form=p_x_p", "padapter:form=p_2x_p"]
OTHERS = [
    "bitfit",
    "layernorm",
    "vpt-deep:prompts={r}",
    "vpt-shallow:prompts={r}",
    "vqt:prompts={r}",
    "lora:rank={r}",
    "ssf",
]
CASES = [f"{name}{',' if ':' in name else ':'}bottleneck={{r}}" for name in SIZED] + OTHERS


@settings(max_examples=4, deadline=None)
@given(heads=st.integers(1, 4), blocks=st.integers(3, 7), half=st.integers(1, 5), side=st.integers(6, 9))
@pytest.mark.parametrize("case", CASES)
def test_counts_follow_the_closed_form_at_other_sizes(
    case: str, heads: int, blocks: int, half: int, side: int
) -> None:
    width = 16 * heads
    with torch.device("meta"):
        vit = make_tiny_vit(embed_dim=width, num_heads=heads, depth=blocks, img_size=4 * side)
    method = parse_method(case.format(r=2 * half))
    assert trained(al.adapt(vit, method, 3)) == closed_form(method, width, blocks, side, 4)


def test_a_vqt_head_reads_the_pooled_token_and_every_answer() -> None:
    model = al.adapt(make_tiny_vit(), "vqt:prompts=3", 7)
    assert sum(p.numel() for _, p in model.parameter_groups()["head"]) == 7 * (32 + 4 * 3 * 32) + 7
