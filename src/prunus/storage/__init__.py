"""Safe files: safetensors with the plan in the header, no pickle."""

from .atomic import write_atomically
from .checkpoint import read_tree, write_tree
from .file import load, read_header, save

__all__ = ["load", "read_header", "read_tree", "save", "write_atomically", "write_tree"]
