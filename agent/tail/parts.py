"""What is told of the files of a job, from what following them knows: nothing is asked of the disk."""

from collections.abc import Iterator, Mapping, Sequence

from agent.logs.parts import Part
from agent.tail.follow import Follow, Tail
from agent.tail.position import text_of


def parts(follows: Sequence[Follow], troubles: Mapping[str, str], *, unpacks: bool) -> Iterator[Part]:
    """Yield each path that is followed, and each that cannot be; `unpacks`: compressed files are content.

    May run in another thread than the one that reads: a value may be a moment older than the one beside it.
    """
    for follow in follows:
        yield _part(follow, list(follow.chain), troubles.get(follow.path, ""), unpacks)
    followed = {follow.path for follow in follows}
    for path, why in troubles.items():
        if path not in followed:
            yield Part(text_of(path), trouble=why)


def _part(follow: Follow, chain: Sequence[Tail], trouble: str, unpacks: bool) -> Part:
    told = text_of(follow.path), follow.source, follow.labels, trouble, follow.lines, follow.read_s
    if not chain:
        return Part(*told)
    newest = chain[-1]
    position, size_bytes = newest.position, newest.stamp[0]
    # Offsets count content: how much is left of it is not known where it is compressed.
    if unpacks or (newest.source is not None and newest.source.packing):
        return Part(*told, position.offset)
    if newest.over:
        size_bytes = position.offset
    older_bytes = sum(map(_unread, chain[:-1]))
    known_bytes = size_bytes if size_bytes >= 0 else None
    return Part(*told, position.offset, known_bytes, older_bytes, position.path, position.inode)


def _unread(tail: Tail) -> int:
    """Return what is left of an older part, as far as that is known."""
    if tail.over or (tail.source is not None and tail.source.packing):
        return 0
    return max(0, tail.stamp[0] - tail.position.offset)
