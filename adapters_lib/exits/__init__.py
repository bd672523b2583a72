"""Early exits: thresholds, prediction that really stops, simulation from stored logits, controls."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
