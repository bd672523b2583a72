"""Where backbones come from: the embedded ones, any plain ViT of timm, clip models made of them, files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
