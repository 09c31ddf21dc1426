"""Whatever a resource holds, it becomes jobs or is refused: nothing else, which would stop all the others."""

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.config.operator import OperatorConfig
from agent.config.scrape import GlobalConfig
from agent.discovery.operator.convert import KINDS, RefusedError, convert, parse
from pipeline.errors import PermanentError
from tests.agent.discovery.operator.cases import cases

RESOURCES = [(case, item) for case in cases() for item in case.resources]
SETTINGS = {case.name: OperatorConfig.model_validate(case.value["operator"]) for case in cases()}

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "(", "$1", "${x}", "10s", "10MB", "http://a", "{}", "Secret", "[::1]:x", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a resource."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*at, key)
        yield from places(entry, (*at, key))


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a resource of the cases in which one to three things are replaced."""
    case, item = draw(st.sampled_from(RESOURCES))
    item = copy.deepcopy(item)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(item["spec"]))
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        inner = item["spec"]
        for step in path:
            inner = inner[step]
        inner[last] = draw(junk)
    return case.name, item


@given(spoilt())
def test_a_resource_becomes_jobs_or_is_refused(drawn: tuple[str, dict[str, Any]]) -> None:
    name, item = drawn
    (kind,) = (kind for kind in KINDS if kind.name == item["kind"])
    try:
        parsed = parse(kind, item)
        values = {
            reference: PermanentError("gone") if "x" in str(reference.key) else "v" for _, reference in parsed.needs
        }
        jobs = convert(parsed, SETTINGS[name], GlobalConfig(), values)
    except RefusedError as error:
        assert str(error).startswith("spec")
    else:
        assert all(job.job_name.split("/")[1] == item["metadata"]["namespace"] for job in jobs)
