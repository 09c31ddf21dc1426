"""Builds the optional accelerators; everything else is declared in pyproject.toml.

Each `_*.pyx` is compiled where Cython finds a C compiler and left out where none is (`optional=True`): installing never
needs a compiler, and the Python beside each accelerated function passes the same tests.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

PACKAGES = ("agent", "gateway", "pipeline")

# What the accelerators share is inlined into each of them.
shared = [str(path) for package in PACKAGES for path in sorted(Path(package).rglob("_*.pxd"))]
sources = [path for package in PACKAGES for path in sorted(Path(package).rglob("_*.pyx"))]
extensions = [
    Extension(
        ".".join(path.with_suffix("").parts), [str(path)], optional=True, extra_compile_args=["-O3"], depends=shared
    )
    for path in sources
]

setup(ext_modules=[] if os.environ.get("PRONOIA_WITHOUT_ACCELERATOR") else extensions)
