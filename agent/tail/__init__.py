"""Following files: they are found by patterns, known again by what they begin with, and read to their end, each once.

`files.py` is the input; docs/files.md says what it promises.
"""

from agent.tail.files import Files
from agent.tail.options import Decompression, LineLimit, TailOptions

__all__ = ["Decompression", "Files", "LineLimit", "TailOptions"]
