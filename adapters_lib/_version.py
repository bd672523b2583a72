"""The version: part of every stored run, so that rows of two versions are never averaged."""

__version__ = "0.3.0"
