"""A file's sections, each read by its model: what is wrong with any of them is told at once with all the others."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from agent.config.secret_files import secret_files
from agent.config.unsupported import reason_for
from pipeline.config import ConfigError, Document, Key, Mistake, validate

ModelT = TypeVar("ModelT", bound=BaseModel)


class Sections:
    """The sections of a document from the key `at` on. Mistakes and warnings gather while they are read."""

    def __init__(self, document: Document, at: Key, check_files: bool) -> None:
        self.document = document
        self.at = at
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self._check_files = check_files

    def section(self, model: type[ModelT], value: Any, at: Key | None = None) -> ModelT | None:
        """Read a section of the document itself, which stands at `at` or is all of it; None where it is wrong."""
        return self.validated(self.document, model, value, self.at if at is None else at)

    def validated(self, document: Document, model: type[ModelT], value: Any, at: Key) -> ModelT | None:
        """Read a section of any document; None where it is wrong."""
        try:
            return validate(document, model, value, at)
        except ConfigError as error:
            self.mistakes += [reason_for(mistake) for mistake in error.mistakes]
            return None

    def entries(self, document: Document, name: str, value: Any, at: Key) -> Iterator[tuple[Key, Any]]:
        """Yield the entries of a list of sections, and where each stands."""
        if value is None:
            return
        if not isinstance(value, list):
            self.mistakes.append(document.mistake((*at, name), "must be a list"))
            return
        for index, entry in enumerate(value):
            yield (*at, name, index), entry

    def warn_of(self, keys: Sequence[Key], reason: str, at: Key = ()) -> None:
        """Warn of keys below `at`, of all in one sentence."""
        lines = [self.document.line_of((*at, *key)) for key in keys]
        named = ", ".join(f"{'.'.join(map(str, key))} (line {line})" for key, line in zip(keys, lines, strict=True))
        self.warnings.append(Mistake(self.document.file, lines[0], "", f"{reason}: {named}"))

    def check_secrets(self, document: Document, section: BaseModel, at: Key) -> None:
        """Refuse a section whose certificates, tokens or passwords are not there, where that is asked for."""
        if self._check_files:
            for key, path in secret_files(section):
                try:
                    with path.open("rb"):
                        pass
                except OSError as error:
                    reason = f"cannot be read: {path}: {error.strerror}"
                    self.mistakes.append(document.mistake((*at, *key), reason))
