"""Looking inside: attention, rollout, CKA, attributions and their checks, classes, calibration, one's own
images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
