"""Our own weights: the embedded ViT and the one for clips, trained from nothing on drawn leaves."""
