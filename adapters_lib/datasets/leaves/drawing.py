"""Draw synthetic leaves in closed form: one formula a pixel, vectorised over a batch, on any device.

A leaf lives in its own frame: `t` runs along the midrib from base (0) to tip (1), `w >= 0` is the distance
from it. The outline is

    h(t) = aspect · (t/m)^a · ((1−t)/(1−m))^b,     m = a/(a+b) the widest place,

cut by lobes and by saw teeth; side veins are the level lines of `t − w·cot(angle) − curve·w²`. Every quantity
that varies is a column of one of two tables: `LEAF_FIELDS` (the plant: what classes differ in) and
`SCENE_FIELDS` (the scan: what no class may depend on).

The parameters come from numpy's PCG64, so they are the same numbers everywhere. Pixels are float32 arithmetic
rounded to 8 bits: the same on one platform whatever the batch or its order, and at most one grey level apart
between platforms. Sensor noise is an integer hash of (image seed, pixel), exact everywhere.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["LEAF_FIELDS", "SCENE_FIELDS", "VERSION", "Field", "draw"]

# Raise it when the same numbers would give other pixels: drawn images that were kept are then drawn again.
VERSION = 1

BLADE = 0.86  # half the length of the blade, in units of half the image


@dataclass(frozen=True)
class Field:
    """One column of a parameter table, uniform between `low` and `high`.

    `upstream=False`: held back, the same for every leaf of the pre-training task, so the backbone never saw
    it vary.
    """

    name: str
    low: float
    high: float
    unit: str
    meaning: str
    upstream: bool = True


LEAF_FIELDS: tuple[Field, ...] = (
    Field("aspect", 0.24, 0.85, "half width / half length", "how broad the blade is"),
    Field("widest", 0.25, 0.70, "blade length", "where along the midrib the blade is widest"),
    Field("fullness", 0.55, 2.20, "a + b", "low: oblong, high: pinched at both ends"),
    Field("lobe_count", 2.0, 6.0, "per side", "lobes along the outline"),
    Field("lobe_depth", 0.0, 0.45, "half width", "how deep the lobes cut"),
    Field("tooth_count", 8.0, 30.0, "per side", "teeth of the margin"),
    Field("tooth_depth", 0.0, 0.20, "half width", "how deep the teeth cut"),
    Field("tooth_skew", -0.9, 0.9, "1", "teeth point to the base (−) or to the tip (+)", upstream=False),
    Field("vein_count", 4.0, 11.0, "per side", "side veins"),
    Field("vein_angle", 28.0, 75.0, "degrees", "between midrib and side vein"),
    Field("vein_curve", -0.5, 0.9, "1", "side veins bend to the base (−) or to the tip (+)"),
    Field("vein_offset", 0.0, 0.5, "vein spacing", "0: opposite, 0.5: alternate"),
    Field("vein_width", 0.010, 0.030, "half image", "width of a side vein"),
    Field("vein_contrast", -0.45, 0.65, "of lightness", "veins darker (−) or lighter (+) than the blade"),
    Field("midrib_width", 0.012, 0.045, "half image", "width of the midrib at the base"),
    Field("midrib_contrast", -0.40, 0.75, "of lightness", "midrib darker (−) or lighter (+) than the blade"),
    Field("relief", 0.0, 0.22, "of lightness", "bulge of the blade between its side veins"),
    Field(
        "tertiary_count", 5.0, 14.0, "per half image", "cross veins between two side veins", upstream=False
    ),
    Field("tertiary_contrast", 0.0, 0.36, "of lightness", "cross veins", upstream=False),
    Field("hue", 0.02, 0.40, "turns", "color of the blade"),
    Field("saturation", 0.25, 0.85, "1", "color of the blade"),
    Field("value", 0.28, 0.75, "1", "color of the blade"),
    Field("edge_hue", -0.10, 0.10, "turns", "hue at the margin minus hue at the midrib"),
    Field("edge_value", -0.25, 0.25, "1", "value at the margin minus value at the midrib"),
    Field("blotch_amount", 0.0, 0.75, "1", "strength of the blotches"),
    Field("blotch_scale", 2.5, 9.0, "cycles per half image", "fineness of the blotches"),
    Field("blotch_hue", -0.16, 0.16, "turns", "hue of the blotches minus hue of the blade"),
    Field("margin_width", 0.015, 0.11, "half image", "band along the margin", upstream=False),
    Field("margin_tone", -0.5, 0.5, "of lightness", "band along the margin", upstream=False),
    Field("petiole", 0.03, 0.18, "half image", "length of the stalk"),
)

WAVES = 5  # cosines that make up the blotches

SCENE_FIELDS: tuple[Field, ...] = (
    Field("rotation", -28.0, 28.0, "degrees", "of the leaf on the scanner"),
    Field("scale", 0.84, 1.0, "1", "distance of the camera"),
    Field("shift_x", -0.06, 0.06, "half image", "position"),
    Field("shift_y", -0.05, 0.05, "half image", "position"),
    Field("bend", -0.22, 0.22, "half image", "of the midrib"),
    Field("asymmetry", -0.07, 0.07, "half width", "left against right half"),
    Field("vein_phase", -0.5, 0.5, "vein spacing", "where the first side vein leaves"),
    Field("tooth_phase", 0.0, 1.0, "tooth", "where the first tooth stands"),
    Field("gain", 0.82, 1.12, "1", "exposure"),
    Field("warmth", -0.05, 0.05, "1", "white balance, red against blue"),
    Field("light_x", -0.14, 0.14, "1", "gradient of the light"),
    Field("light_y", -0.14, 0.14, "1", "gradient of the light"),
    Field("fold", -0.12, 0.12, "of lightness", "left half against right half"),
    Field("shadow", 0.10, 0.45, "1", "of the leaf on the paper"),
    Field("paper_value", 0.72, 0.97, "1", "background"),
    Field("paper_hue", 0.0, 1.0, "turns", "background"),
    Field("paper_saturation", 0.0, 0.10, "1", "background"),
    Field("noise", 0.006, 0.028, "1", "standard deviation of the sensor noise"),
    *(Field(f"wave_angle_{i}", 0.0, 2 * math.pi, "rad", "direction of a blotch wave") for i in range(WAVES)),
    *(Field(f"wave_phase_{i}", 0.0, 2 * math.pi, "rad", "phase of a blotch wave") for i in range(WAVES)),
)


def _columns(
    fields: tuple[Field, ...], unit_values: np.ndarray, device: torch.device | str
) -> dict[str, Tensor]:
    """Columns (N, 1, 1) in physical units, from a table (N, fields) in [0, 1]; scaled in float64 on the
    CPU, so the same everywhere."""
    low = np.array([f.low for f in fields])
    high = np.array([f.high for f in fields])
    table = torch.from_numpy((low + unit_values * (high - low)).astype(np.float32)).to(device)
    return {f.name: table[:, i, None, None] for i, f in enumerate(fields)}


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(N, 1, 1) each -> (N, 3, 1, 1), the usual hexagonal HSV."""
    k = (torch.tensor([5.0, 3.0, 1.0], device=hue.device)[None, :, None, None] + 6 * (hue % 1)[:, None]) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * ramp)


def _sensor_noise(seeds: Tensor, size: int) -> Tensor:
    """Triangular noise of unit variance (N, 3, size, size): splitmix64 of (image seed, pixel), three
    channels from one 64-bit word."""
    word = torch.arange(size * size, device=seeds.device)[None] + seeds[:, None] * 1_000_003
    word = word * -7046029254386353131
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    word = word ^ ((word >> 31) & 0x1FFFFFFFF)
    channels = [((word >> (20 * c)) & 1023) + ((word >> (20 * c + 10)) & 1023) for c in range(3)]
    deviation = 417.8  # of the sum of two numbers 0…1023, nearly
    return (torch.stack(channels, 1).float() - 1023.0).div_(deviation).unflatten(-1, (size, size))


def draw(
    leaves: np.ndarray,
    scenes: np.ndarray,
    seeds: np.ndarray,
    image_size: int = 96,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
) -> Tensor:
    """Draw N leaves.

    Args:
        leaves: (N, len(LEAF_FIELDS)) in [0, 1], one row a leaf, scaled to the ranges of `LEAF_FIELDS`.
        scenes: (N, len(SCENE_FIELDS)) in [0, 1], one row a scan, likewise.
        seeds: (N,) integers, seeds of the sensor noise.
        image_size: pixels a side.
        chunk: images drawn at once; None: 8 on a CPU, whose cache then holds every intermediate (2.7 times as
            fast as 128), 1024 on a GPU.

    Returns: uint8 images (N, 3, image_size, image_size) on the CPU.
    """
    out = torch.empty(len(leaves), 3, image_size, image_size, dtype=torch.uint8)
    step = chunk or (8 if torch.device(device).type == "cpu" else 1024)
    for start in range(0, len(leaves), step):
        rows = slice(start, start + step)
        p, q = _columns(LEAF_FIELDS, leaves[rows], device), _columns(SCENE_FIELDS, scenes[rows], device)
        image = _scan(p, q, image_size)
        image += q["noise"][:, None] * _sensor_noise(
            torch.from_numpy(seeds[rows].astype(np.int64)).to(device), image_size
        )
        out[rows] = image.clamp_(0, 1).mul_(255).round_().to(torch.uint8).cpu()
    return out


def _scan(p: dict[str, Tensor], q: dict[str, Tensor], size: int) -> Tensor:
    """Noise-free images (N, 3, size, size) in [0, 1]. `p`: the plant, `q`: the scan; every entry (N, 1,
    1)."""
    device = p["hue"].device
    axis = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    x, y = axis[None, None, :], -axis[None, :, None]
    pixel = 2 / size

    # into the leaf's frame: u along the midrib, v across
    angle = q["rotation"] * (math.pi / 180)
    cos, sin = angle.cos() / q["scale"], angle.sin() / q["scale"]
    dx, dy = x - q["shift_x"], y - q["shift_y"]
    u, v = cos * dy - sin * dx, cos * dx + sin * dy
    v = v - q["bend"] * (u * u - 0.3)
    t = (u + BLADE - 0.08) / (2 * BLADE)
    w, side = v.abs(), v.sign()

    # outline
    inside = t.clamp(1e-4, 1 - 1e-4)
    a, b = p["fullness"] * p["widest"], p["fullness"] * (1 - p["widest"])
    profile = (a * (inside / p["widest"]).log() + b * ((1 - inside) / (1 - p["widest"])).log()).exp()
    lobes = 1 - p["lobe_depth"] * (0.5 + 0.5 * torch.cos(2 * math.pi * p["lobe_count"] * inside))
    tooth = (p["tooth_count"] * inside + q["tooth_phase"]) % 1
    crest = 0.5 - 0.5 * p["tooth_skew"]
    teeth = 1 - p["tooth_depth"] * (1 - torch.minimum(tooth / crest, (1 - tooth) / (1 - crest)))
    half_width = BLADE * p["aspect"] * profile * lobes * teeth * (1 + q["asymmetry"] * side)
    inset = half_width - w  # > 0 inside the blade
    within = (t > 0) & (t < 1)
    blade = torch.sigmoid(inset / (0.45 * pixel)) * within

    # veins
    midrib = _ridge(w, p["midrib_width"] * (1.05 - 0.75 * inside), pixel)
    slope = p["vein_angle"] * (math.pi / 180)
    along = inside - (w / slope.tan() + p["vein_curve"] * w * w / (BLADE * p["aspect"])) / (2 * BLADE)
    phase = p["vein_count"] * along + p["vein_offset"] * (side > 0) + 0.3 * q["vein_phase"]
    row, place = phase.floor(), phase - phase.floor()
    distance = (place - 0.5).abs() * (2 * BLADE) * slope.sin() / p["vein_count"]
    taper = 1 - 0.55 * (w / half_width.clamp_min(0.02)).clamp(0, 1)
    veins = _ridge(distance, p["vein_width"] * taper, pixel) * ((along > 0.02) & (along < 0.96))
    cross = torch.cos(2 * math.pi * (p["tertiary_count"] * w + 0.5 * row)).clamp_min(0) * (1 - veins)

    # color
    base = _rgb(p["hue"], p["saturation"], p["value"])
    edge = _rgb(p["hue"] + p["edge_hue"], p["saturation"], (p["value"] + p["edge_value"]).clamp(0.12, 0.95))
    spot = _rgb(p["hue"] + p["blotch_hue"], (p["saturation"] * 0.8).clamp(0, 1), p["value"] * 1.15)
    toward_edge = (w / half_width.clamp_min(0.02)).clamp(0, 1).square()[:, None]
    leaf = base + (edge - base) * toward_edge
    field = torch.zeros_like(w)
    for i in range(WAVES):
        direction = q[f"wave_angle_{i}"]
        frequency = p["blotch_scale"] * (0.7 + 0.15 * i)
        field = field + torch.cos(
            frequency * (direction.cos() * u + direction.sin() * v) * math.pi + q[f"wave_phase_{i}"]
        )
    blotches = (p["blotch_amount"] * torch.sigmoid(3 * (field - 0.9)))[:, None]
    leaf = leaf + (spot - leaf) * blotches

    tone = 1 + p["relief"] * torch.cos(2 * math.pi * place) * -1 + q["fold"] * torch.tanh(v / 0.08)
    tone = tone + p["tertiary_contrast"] * (cross - 0.3)
    tone = tone + p["margin_tone"] * torch.sigmoid((p["margin_width"] - inset) / (0.6 * pixel))
    tone = tone * (1 + p["vein_contrast"] * veins * (1 - midrib)) * (1 + p["midrib_contrast"] * midrib)
    leaf = leaf * tone[:, None]

    # stalk, paper, light
    stalk = torch.sigmoid((0.022 - w) / (0.45 * pixel)) * (t <= 0) * (u > -(BLADE - 0.08) - p["petiole"])
    leaf = torch.where((t <= 0)[:, None], base * (1 + 0.5 * p["midrib_contrast"])[:, None], leaf)
    shape = torch.maximum(blade, stalk)[:, None]
    paper = _rgb(q["paper_hue"], q["paper_saturation"], q["paper_value"])
    shade = torch.sigmoid((half_width - (v - 0.03).abs()) / 0.035) * ((t > -0.01) & (t < 1.02))
    paper = paper * (1 - q["shadow"] * shade)[:, None]
    light = (q["gain"] * (1 + q["light_x"] * x + q["light_y"] * y))[:, None]
    # (N, 3, 1, 1).
    balance = torch.cat([1 + q["warmth"], torch.ones_like(q["warmth"]), 1 - q["warmth"]], 1).unsqueeze(-1)
    return (paper + (leaf - paper) * shape) * light * balance


def _ridge(distance: Tensor, width: Tensor, pixel: float) -> Tensor:
    """A line seen by square pixels: Gaussian profile, never narrower than a pixel, weaker instead."""
    seen = (width * width + (0.55 * pixel) ** 2).sqrt()
    return (width / seen) * torch.exp(-((distance / seen) ** 2))
