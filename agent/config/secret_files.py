"""The files of certificates, tokens and passwords that a configuration names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from pipeline.config import Key


def secret_files(section: BaseModel) -> Iterator[tuple[Key, Path]]:
    """Yield the files of certificates, tokens and passwords that a section names, with their keys."""
    for name, field in type(section).model_fields.items():
        yield from _files_in(getattr(section, name), (field.alias or name,))


_OWN_FILES: Final = ("path", "filename", "scrape_failure_log_file")
"""Keys of files and folders that need not be there."""


def _files_in(value: Any, key: Key) -> Iterator[tuple[Key, Path]]:
    if isinstance(value, BaseModel):
        for inner, path in secret_files(value):
            yield (*key, *inner), path
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from _files_in(entry, (*key, name))
    elif isinstance(value, tuple):
        # Patterns of file_sd_configs may match nothing yet.
        if key[-1] != "file_sd_configs":
            for index, entry in enumerate(value):
                yield from _files_in(entry, (*key, index))
    elif isinstance(value, Path) and key[-1] not in _OWN_FILES:
        yield key, value
