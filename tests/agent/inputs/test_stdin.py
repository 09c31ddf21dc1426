"""Standard input to its end."""

import os

from agent.inputs.stdin import MAX_LINE_BYTES, Stdin
from tests.agent.inputs.parts import Desk, Memory


async def test_everything_up_to_the_end_is_in_the_buffer_when_it_ends() -> None:
    desk = Desk(Memory(), holding=2)
    end, begin = os.pipe()
    with os.fdopen(begin, "wb", 0) as out:
        out.write(b"one\r\n\ntwo \xff\nthree")
    with os.fdopen(end, "rb") as stream:
        await Stdin({"job": "cli"}, desk.tools(), stream).run()
    assert desk.memory.texts == ["one", "two \ufffd", "three"]
    assert desk.memory.lines[0].labels == {"job": "cli"}
    assert desk.value("lines") == 3
    times_ns = [line.time_ns for line in desk.memory.lines]
    assert sorted(set(times_ns)) == times_ns, "equal lines of one time would be one to Loki"


async def test_a_line_without_an_end_is_cut(tmp_path: os.PathLike[str]) -> None:
    desk = Desk(Memory())
    path = os.fspath(tmp_path) + "/in"
    with open(path, "wb") as out:  # noqa: PTH123, ASYNC230
        out.write(b"x" * 5_000_000 + b"\nnext\n")
    with open(path, "rb") as stream:  # noqa: PTH123, ASYNC230
        await Stdin({"job": "cli"}, desk.tools(), stream).run()
    assert [len(text) for text in desk.memory.texts] == [MAX_LINE_BYTES, 4]
    assert desk.value("cut_lines") == 1
