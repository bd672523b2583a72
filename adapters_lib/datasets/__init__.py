"""Data sets by name, drawn or read: `load_data` gives a `Task`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
