"""The Journal Export Format: its documentation's examples, fed whole and byte by byte."""

import pytest

from pipeline.wire.journal_export import ExportReader

TEXT = b"""__CURSOR=s=739ad463348b4ceca5a9e69c95a3c93f;i=4ece7;b=6c7c6013a26343b29e964691ff25d04c;m=4fc72436e
__REALTIME_TIMESTAMP=1342540861421465
_BOOT_ID=6c7c6013a26343b29e964691ff25d04c
PRIORITY=6
MESSAGE=Started a = b

"""
BINARY = b"__CURSOR=s=1\nMESSAGE\n" + (9).to_bytes(8, "little") + b"foo\n\nbar\n\nPRIORITY=6\n\n"


def binary(value: bytes) -> bytes:
    return b"__CURSOR=s=2\nMESSAGE\n" + len(value).to_bytes(8, "little") + value + b"\n\n"


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_entries_are_read_however_they_come(step: int) -> None:
    stream = TEXT + BINARY + binary(b"\xff\0\n\n\n") + TEXT + binary(b"")
    reader, found = ExportReader(1000), []
    for at in range(0, len(stream), step):
        found += reader.feed(stream[at : at + step])
    assert [fields["MESSAGE"] for fields in found] == [
        "Started a = b",
        "foo\n\nbar\n",
        "\ufffd\0\n\n\n",
        "Started a = b",
        "",
    ]
    assert found[0]["__REALTIME_TIMESTAMP"] == "1342540861421465"
    assert found[1] == {"__CURSOR": "s=1", "MESSAGE": "foo\n\nbar\n", "PRIORITY": "6"}
    assert reader.too_large is None


def test_an_entry_that_is_too_large_is_named() -> None:
    reader = ExportReader(1000)
    assert reader.feed(TEXT + binary(b"x" * 5000)[:4000])[0]["PRIORITY"] == "6"
    assert reader.too_large == "s=2"
