"""Safe files: safetensors with the plan in the header, no pickle.

What is promised of a file, whoever wrote it:

* Nothing in it is run while it is read, and no object is unpickled.
* Model files, checkpoints, gates and plans carry a SHA-256 of all that they say: one changed bit is an error.
  (Plans of schema 1 and nothing else are read without. A checksum tells damage, not bad intentions, since
  anybody can compute one.)
* A traced model calls only operators of `operators.OPERATORS`, with arguments such as they take: kernels,
  strides, dilations and paddings of at most 65,536, scales between 1/65,536 and 65,536, sizes computed in at
  most 16,384 bits.
* Before it is built, it is run without data on inputs like those of its plan. No value of it has more than
  2^26 + 256 (t + i) numbers, where t is the number of those in the file's tensors and i that of the inputs,
  of which 2^22 count at most; all values together have at most 16 times as many.
* NaN and infinity among the weights are told with a warning.

`save` refuses what `load` would refuse.
"""

from prunus._foundation.atomic import write_atomically
from prunus.storage.checkpoint import read_tree, write_tree
from prunus.storage.coded_file import read_about, save_coded
from prunus.storage.file import load, read_header, save

__all__ = [
    "load",
    "read_about",
    "read_header",
    "read_tree",
    "save",
    "save_coded",
    "write_atomically",
    "write_tree",
]
