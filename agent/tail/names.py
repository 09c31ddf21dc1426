"""Several names of one file: links, hard links, and the same behind a directory that is a link. Pure."""

from collections.abc import Callable, Iterable, Mapping
from os import stat_result

Key = tuple[str, int]
"""A path, and which of the targets that name it."""


def further_names(
    keys: Iterable[Key], stats: Mapping[str, stat_result], real: Mapping[str, str], rank: Callable[[Key], int]
) -> set[Key]:
    """Return those that only name what another one names, too; of each file the one of the lowest rank is left.

    `real` has where a path really is, if that is elsewhere. Both count: links of one file are so also while that is
    being rotated, when they were looked at before and after; hard links have but their inode in common.
    """
    further = set[Key]()
    order = sorted(keys, key=lambda key: (rank(key), key[0] in real, key))
    taken = set[tuple[object, ...]]()
    for path, twin in order:
        stat = stats[path]
        names = {(twin, real.get(path, path)), (twin, stat.st_dev, stat.st_ino)}
        if taken & names:
            further.add((path, twin))
        taken |= names
    return further
