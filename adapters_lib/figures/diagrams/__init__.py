"""Diagrams of the block and of every method, drawn from what the library says about itself."""

from .names import DIAGRAMS, diagram, drawn_board, write_diagrams

__all__ = ["DIAGRAMS", "diagram", "drawn_board", "write_diagrams"]
