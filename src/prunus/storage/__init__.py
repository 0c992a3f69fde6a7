"""Safe files: safetensors with the plan in the header, no pickle."""

from .file import load, read_header, save, write_atomically

__all__ = ["load", "read_header", "save", "write_atomically"]
