"""What was said to Clymene's agent: its flags read as it reads them, and every mistake in them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.errors import PermanentError
from pronoia.clymene_flags import (
    BY_NAME,
    FLAGS,
    GRPC,
    OTHER_VARIABLES,
    PREFIXES,
    REFUSED_STORAGES,
    STORAGE_TYPE,
    STORAGES,
    Does,
    Flag,
)


class FlagError(PermanentError):
    """Flags that cannot be used, a line each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(reasons))


@dataclass(frozen=True, slots=True)
class Given:
    """What was said on the command line and in the environment, by flag, and the types of storage to write to."""

    storages: tuple[str, ...]
    values: Mapping[str, str]

    def get(self, name: str) -> str:
        """Return a flag's value, its default where nothing was said."""
        return self.values.get(name, BY_NAME[name].default)

    def is_on(self, name: str) -> bool:
        """Return whether a switch is on."""
        return self.get(name).lower() in ("1", "t", "true")


def read_flags(arguments: Sequence[str], environment: Mapping[str, str]) -> Given:
    """Read flags as Go's pflag does, and the environment beside; raises FlagError with everything that is wrong."""
    storages = _storages(environment)
    said, reasons = _parse(arguments)
    reasons += [
        _unknown(name, storages)
        for name in said
        if (flag := BY_NAME.get(name)) is None or not _is_there(flag, storages)
    ]
    for flag in FLAGS:
        if _may_be_a_variable(flag, storages) and flag.name not in said and (value := environment.get(flag.variable)):
            said[flag.name] = value
    reasons += [
        f"--{name}: is not supported: {BY_NAME[name].note}"
        for name, value in said.items()
        if name in BY_NAME and BY_NAME[name].does is Does.REFUSED and not _is_off(BY_NAME[name], value)
    ]
    given = Given(storages, said)
    reasons += [f"--{name}: {reason}" for name, reason in _wrong(given)]
    reasons += [_storage_reason(storage, environment) for storage in storages if storage not in STORAGES]
    reasons += [
        f"{name}: {reason}"
        for name, (does, reason) in OTHER_VARIABLES.items()
        if does is Does.REFUSED and environment.get(name)
    ]
    if reasons:
        raise FlagError(sorted(set(reasons)))
    return given


def _storages(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(environment.get(STORAGE_TYPE, "").split(",")) if environment.get(STORAGE_TYPE) else ("elasticsearch",)


def _storage_reason(storage: str, environment: Mapping[str, str]) -> str:
    left_out = "" if environment.get(STORAGE_TYPE) else " (which is what it means where it is not set)"
    reason = REFUSED_STORAGES.get(storage, "is no type of storage that Clymene has")
    return f"{STORAGE_TYPE}={storage}{left_out}: {reason}; supported: {', '.join(STORAGES)}"


def _parse(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    said: dict[str, str] = {}
    reasons = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if not argument.startswith("--") or argument == "--":
            reasons.append(f"{argument}: is no flag: write --name=value")
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals:
            if name in BY_NAME and BY_NAME[name].is_switch:
                value = "true"
            elif left:
                value = left.pop(0)
            else:
                reasons.append(f"--{name}: needs a value")
        said[name] = value
    return said, reasons


def _is_there(flag: Flag, storages: Sequence[str]) -> bool:
    return not flag.storage or flag.storage in storages


def _may_be_a_variable(flag: Flag, storages: Sequence[str]) -> bool:
    return _is_there(flag, storages) and flag.does is not Does.OURS


def _is_off(flag: Flag, value: str) -> bool:
    return flag.is_switch and value.lower() in ("0", "f", "false")


def _unknown(name: str, storages: Sequence[str]) -> str:
    if (flag := BY_NAME.get(name)) is not None:
        return f"--{name}: belongs to {STORAGE_TYPE}={flag.storage}, and it is {','.join(storages)}"
    for prefix, storage in PREFIXES.items():
        if name.startswith(prefix):
            return f"--{name}: belongs to {STORAGE_TYPE}={storage}: {REFUSED_STORAGES[storage]}"
    return f"--{name}: is no flag of Clymene's agent"


_DURATION: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float:
    """Read a duration above 0 as Go writes it (`1m30s`, `1.5s`) in seconds; raises ValueError."""
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(text))
    if _DURATION.sub("", text) or not seconds:
        raise ValueError(text)
    return seconds


def _count(text: str) -> None:
    if not text.isdigit() or not int(text):
        raise ValueError(text)


_READ: Final[tuple[tuple[str, str, Callable[[str], object]], ...]] = (
    ("http.port", "number above 0", _count),
    ("metric.split.length", "number above 0", _count),
    ("prometheus.remote.timeout", "duration above 0, like 10s", duration_s),
    ("cortex.distributor.timeout", "duration above 0, like 10s", duration_s),
)
_LEVELS: Final = ("debug", "info", "warn", "error", "dpanic", "panic", "fatal")


def _wrong(given: Given) -> list[tuple[str, str]]:
    """Return what is wrong with values: the flag and the reason."""
    wrong = []
    for name, value in given.values.items():
        if name in BY_NAME and BY_NAME[name].is_switch and value.lower() not in ("0", "f", "false", "1", "t", "true"):
            wrong.append((name, f'"{value}" is neither true nor false'))
    only = {
        "metrics-backend": ("prometheus",),
        "metrics-http-route": ("/metrics",),
        "gateway.service-type": ("grpc", "http"),
    }
    for name, values in {**only, "log-level": _LEVELS}.items():
        if given.get(name) not in values:
            wrong.append((name, f'"{given.get(name)}" is not supported: {" or ".join(values)}'))
    for name, what, read in _READ:
        try:
            read(given.get(name))
        except ValueError:
            wrong.append((name, f'"{given.get(name)}" is no {what}'))
    if "," in given.get(f"{GRPC}.host-port"):
        wrong.append((f"{GRPC}.host-port", "is a list: name one gateway, or a service that stands for all of them"))
    if not given.is_on(f"{GRPC}.tls.enabled"):
        set_without = [
            name for name in given.values if name.startswith(f"{GRPC}.tls.") and not name.endswith("enabled")
        ]
        wrong += [(name, f"needs --{GRPC}.tls.enabled") for name in set_without]
    return wrong
