"""The notebooks: running them, their site, and `pick`, one notebook in two sizes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
