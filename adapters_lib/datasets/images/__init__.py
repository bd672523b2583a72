"""Sets of images: files and folders, lists, torchvision's, VTAB-1k, the ultra-fine-grained sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
