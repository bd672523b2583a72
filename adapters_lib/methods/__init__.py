"""The methods: one paper, one file. Importing this package makes every method known by name, in the order
of the lines below."""

from .classic import BitFit, FullFineTuning, LayerNormTuning, LinearProbe  # isort: skip
from .vpt import VPTDeep, VPTShallow  # isort: skip
from .vqt import VQT  # isort: skip
from .sequential import Houlsby, Pfeiffer  # isort: skip
from .adpt import ADPT  # isort: skip
from .adaptformer import AdaptFormer  # isort: skip
from .adapter_plus import AdapterPlus  # isort: skip
from .lora import LoRA  # isort: skip
from .repadapter import RepAdapter  # isort: skip
from .ssf import SSF  # isort: skip
from .convpass import ConvPass  # isort: skip
from .ila import ILA, ILAPlus, ILAPlusPlus  # isort: skip
from .padapter import PAdapter, PromptedAdapter  # isort: skip
from .dyn import DynExits  # isort: skip
from ..vit.method import Method  # isort: skip
from .sparsity import mask_gradients  # isort: skip
from .compose import composition_table  # isort: skip
from .registry import METHODS, format_method, method_from_dict, method_to_dict, parse_method, register  # isort: skip

__all__ = [
    "ADPT",
    "ILA",
    "METHODS",
    "SSF",
    "VQT",
    "AdaptFormer",
    "AdapterPlus",
    "BitFit",
    "ConvPass",
    "DynExits",
    "FullFineTuning",
    "Houlsby",
    "ILAPlus",
    "ILAPlusPlus",
    "LayerNormTuning",
    "LinearProbe",
    "LoRA",
    "Method",
    "PAdapter",
    "Pfeiffer",
    "PromptedAdapter",
    "RepAdapter",
    "VPTDeep",
    "VPTShallow",
    "composition_table",
    "format_method",
    "mask_gradients",
    "method_from_dict",
    "method_to_dict",
    "parse_method",
    "register",
]
