"""Builds the optional accelerator; everything else is declared in pyproject.toml.

The accelerator is compiled where a C compiler is found and left out where none is (`optional=True`): installing never
needs a compiler, and the Python beside each accelerated function passes the same tests.
"""

import os

from setuptools import Extension, setup

extensions = [
    Extension(
        "pipeline.wire._accelerator",
        ["pipeline/wire/_accelerator.pyx"],
        optional=True,
        extra_compile_args=["-O3"],
    )
]

if os.environ.get("PRONOIA_WITHOUT_ACCELERATOR"):
    extensions = []

setup(ext_modules=extensions)
