"""A timm ViT with sites: layout of tokens, sites of a block, what a method is, the model and its walk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
