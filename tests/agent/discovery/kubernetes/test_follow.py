"""Following objects through all that an API server may do: a stub plays the ill ones."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent.discovery.kubernetes import (
    ApiServer,
    Changes,
    Failed,
    ForbiddenError,
    GoneError,
    Selection,
    UnavailableError,
    follow,
)
from agent.discovery.kubernetes.backoff import Backoff
from agent.discovery.kubernetes.errors import Action, action_of, error_of
from agent.discovery.kubernetes.follow import PAGE_OBJECTS, merged
from agent.discovery.kubernetes.resources import ENDPOINT_SLICES, PODS
from pipeline.errors import PermanentError
from tests.agent.discovery.kubernetes.following import QUICK, following, tools_for
from tests.agent.discovery.kubernetes.stub import StubApiServer, stub_api_server


def pod(name: str, ip: str = "10.0.0.1", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "default", **more},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
        "status": {"podIP": ip},
    }


class Told:
    """What follow tells, in order, and what comes of it."""

    def __init__(self, stub: StubApiServer) -> None:
        self.stub = stub
        self.objects: dict[str, str] = {}
        self.errors: list[Exception] = []
        self.lists = 0
        self.told = asyncio.Condition()

    async def run(self, server: ApiServer) -> None:
        stream = follow(server, Selection(PODS), lambda item: str(item["status"]["podIP"]), jitter=lambda: 0.0)
        async with aclosing(stream):
            async for happened in stream:
                if isinstance(happened, Failed):
                    self.errors.append(happened.error)
                else:
                    self.lists += happened.whole
                    differing: list[tuple[str, str | None]] = list(merged(self.objects, happened))
                    for key, ip in differing:
                        self.objects.pop(key, None)
                        if ip is not None:
                            self.objects[key] = ip
                async with self.told:
                    self.told.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self.told:
            await self.told.wait_for(reached)


@asynccontextmanager
async def told_by(stub: StubApiServer) -> AsyncIterator[Told]:
    async with aiohttp.ClientSession() as session:
        told = Told(stub)
        task = asyncio.create_task(told.run(ApiServer(stub.cluster, session, QUICK)))
        try:
            yield told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_objects_are_listed_in_pages_then_watched() -> None:
    async with stub_api_server() as stub:
        for number in range(2 * PAGE_OBJECTS + 1):
            await stub.put(PODS, pod(f"p{number}"))
        async with told_by(stub) as told:
            await told.until(lambda: len(told.objects) == 2 * PAGE_OBJECTS + 1)
            assert ["limit" in request.query for request in stub.requests[:3]] == [True, True, True]
            await stub.put(PODS, pod("p0", "10.0.0.2"))
            await stub.remove(PODS, "p1", "default")
            await told.until(lambda: "default/p1" not in told.objects and told.objects["default/p0"] == "10.0.0.2")
            assert told.lists == 1
            assert not told.errors


async def test_watches_from_before_what_is_remembered_are_told_to_list_again() -> None:
    async with stub_api_server() as stub:
        await stub.put(PODS, pod("a"))
        first = asyncio.Event()

        async def forgets_at_first(request: web.Request) -> web.StreamResponse | None:
            if "watch" in request.query and not first.is_set():
                first.set()
                stub.version += 1
                stub.cut()
            return None

        stub.answer = forgets_at_first
        async with told_by(stub) as told:
            await told.until(lambda: told.lists == 2)
            assert told.objects == {"default/a": "10.0.0.1"}
            assert not told.errors


async def test_versions_that_are_forgotten_again_and_again_are_told() -> None:
    async with stub_api_server() as stub:
        await stub.put(PODS, pod("a"))

        async def forgets(request: web.Request) -> web.StreamResponse | None:
            status = {"kind": "Status", "code": 410, "message": "too old"}
            return web.json_response(status, status=410) if "watch" in request.query else None

        stub.answer = forgets
        async with told_by(stub) as told:
            await told.until(lambda: len(told.errors) > 1)
            assert str(told.errors[0]) == "cannot watch pods: too old"
            assert told.objects == {"default/a": "10.0.0.1"}


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>Please log in</html>", content_type="text/html")


async def half_a_list(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [{"metad')
    assert request.transport is not None
    request.transport.close()
    return response


async def cut_json(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"kind": "PodList", "items": [', content_type="application/json")


async def another_kind(_: web.Request) -> web.StreamResponse:
    return web.json_response({"paths": ["/api"]})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (hang, "cannot list pods: no answer from /api/v1/pods in 2 s"),
        (html, 'answered "text/html", no JSON: is that an API server?'),
        (half_a_list, "cannot list pods: "),
        (cut_json, "GET /api/v1/pods: the answer cannot be read: Input data was truncated"),
        (another_kind, "the answer cannot be read: Object missing required field `metadata`"),
    ],
)
async def test_an_ill_server_is_told_of_and_forgets_nothing(answer: Any, said: str) -> None:
    async with stub_api_server() as stub:
        stub.answer = answer
        async with told_by(stub) as told:
            await told.until(lambda: bool(told.errors))
            assert isinstance(told.errors[0], UnavailableError)
            assert said in str(told.errors[0])
            stub.answer = None
            await stub.put(PODS, pod("a"))
            await told.until(lambda: told.objects == {"default/a": "10.0.0.1"})
            # Now while it watches: what is known stays, and the watch is taken up where it was.
            stub.answer = answer
            for task in list(stub.open):
                task.cancel()
            told.errors.clear()
            await told.until(lambda: bool(told.errors))
            assert told.objects == {"default/a": "10.0.0.1"}
            stub.answer = None
            await stub.put(PODS, pod("b"))
            await told.until(lambda: "default/b" in told.objects)
            assert told.lists == 1


async def test_half_an_event_is_asked_for_again() -> None:
    async with stub_api_server() as stub:
        await stub.put(PODS, pod("a"))
        cut = asyncio.Event()

        async def half(request: web.Request) -> web.StreamResponse | None:
            if "watch" not in request.query or cut.is_set():
                return None
            cut.set()
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(json.dumps({"type": "ADDED", "object": pod("b")}).encode()[:40])
            return response

        stub.answer = half
        async with told_by(stub) as told:
            await told.until(lambda: bool(told.objects))
            await stub.put(PODS, pod("b"))
            await told.until(lambda: set(told.objects) == {"default/a", "default/b"})
            assert [str(error) for error in told.errors] == ["watch /api/v1/pods: it ended within an event"]
            assert told.lists == 1


async def test_a_watch_that_falls_silent_is_asked_for_again_from_where_it_was() -> None:
    async with stub_api_server() as stub:
        await stub.put(PODS, pod("a"))
        silent = asyncio.Event()

        async def falls_silent(request: web.Request) -> web.StreamResponse | None:
            if "watch" not in request.query or silent.is_set():
                return None
            silent.set()
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await asyncio.Event().wait()
            return response

        stub.answer = falls_silent
        async with told_by(stub) as told:
            await asyncio.wait_for(silent.wait(), 10)
            await stub.put(PODS, pod("b"))
            await told.until(lambda: "default/b" in told.objects)
            assert told.lists == 1
            assert not told.errors


async def test_what_no_label_tells_makes_no_group_anew() -> None:
    async with stub_api_server() as stub, tools_for(stub.cluster) as tools:
        await stub.put(PODS, pod("a"))
        async with following(tools, {"role": "pod"}) as found:
            await found.until(lambda found: found.addresses == ["10.0.0.1"])
            heartbeat = pod("a")
            heartbeat["status"]["conditions"] = [{"type": "Initialized", "status": "True", "lastProbeTime": None}]
            await stub.put(PODS, heartbeat)
            await stub.put(PODS, pod("b", "10.0.0.2"))
            await found.until(lambda found: len(found.addresses) == 2)
            assert len(found.given) == 2
            assert found.given[0][0] is found.given[1][0]


async def test_watches_that_end_at_once_are_no_watches() -> None:
    async with stub_api_server() as stub:

        async def ends(request: web.Request) -> web.StreamResponse | None:
            return web.Response(content_type="application/json") if "watch" in request.query else None

        stub.answer = ends
        async with told_by(stub) as told:
            await told.until(lambda: len(told.errors) > 1)
            assert str(told.errors[0]) == "cannot watch pods: each watch ends at once"


async def test_an_object_that_cannot_be_read_keeps_what_was_known_of_it() -> None:
    async with stub_api_server() as stub:
        await stub.put(PODS, pod("a"))
        async with told_by(stub) as told:
            await told.until(lambda: bool(told.objects))
            await stub.put(PODS, {"metadata": {"name": "a", "namespace": "default"}, "status": {}})
            await told.until(lambda: bool(told.errors))
            assert isinstance(told.errors[0], PermanentError)
            assert str(told.errors[0]) == "pods default/a cannot be read: KeyError: 'podIP'"
            assert told.objects == {"default/a": "10.0.0.1"}


async def test_jobs_that_look_at_the_same_share_a_watch_and_the_last_ends_it() -> None:
    async with stub_api_server() as stub, tools_for(stub.cluster) as tools:
        await stub.put(PODS, pod("a"))
        async with following(tools, {"role": "pod"}, "one") as one:
            await one.until(lambda one: one.addresses == ["10.0.0.1"])
            async with following(tools, {"role": "pod"}, "two") as two:
                await two.until(lambda two: two.addresses == ["10.0.0.1"])
                await stub.put(PODS, pod("b", "10.0.0.2"))
                for each in (one, two):
                    await each.until(lambda each: each.addresses == ["10.0.0.1", "10.0.0.2"])
                assert stub.watches("pods") == 1
                by_node = {"role": "pod", "selectors": [{"role": "pod", "field": "spec.nodeName=n1"}]}
                async with following(tools, by_node, "three") as three:
                    await three.until(lambda three: bool(three.given))
                    assert three.addresses == []
                    assert stub.watches("pods") == 2
            await stub.put(PODS, pod("c", "10.0.0.3"))
            await one.until(lambda one: len(one.addresses) == 3)
        await stub.answered_all()


async def test_a_discovery_that_needs_what_it_may_not_see_gives_nothing_half_labelled() -> None:
    async with stub_api_server() as stub, tools_for(stub.cluster) as tools:

        async def no_services(request: web.Request) -> web.StreamResponse | None:
            status = {"kind": "Status", "message": "no", "code": 403}
            return web.json_response(status, status=403) if request.path.endswith("/services") else None

        stub.answer = no_services
        slice_ = {
            "metadata": {"name": "s", "namespace": "default"},
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}],
        }
        await stub.put(ENDPOINT_SLICES, slice_)
        async with following(tools, {"role": "endpointslice"}) as found:
            await found.until(lambda found: bool(found.given))
            assert found.groups == []
            assert found.failures == ["forbidden to list services: no"]
            stub.answer = None
            await found.until(lambda found: found.addresses == ["10.0.0.1:80"])
            assert not found.failures


@pytest.mark.parametrize(
    ("method", "path", "params", "action"),
    [
        ("GET", "/api/v1/pods", {}, Action("list", "pods")),
        ("GET", "/api/v1/pods", {"watch": "1"}, Action("watch", "pods")),
        ("GET", "/api/v1/namespaces/a/pods/b", {}, Action("get", "pods", "a")),
        ("GET", "/api/v1/namespaces/a", {}, Action("get", "namespaces")),
        ("GET", "/api/v1/namespaces", {}, Action("list", "namespaces")),
        ("PUT", "/apis/batch/v1/namespaces/a/jobs/b", {}, Action("update", "jobs.batch", "a")),
        ("PUT", "/api/v1/nodes/n/status", {}, Action("update", "nodes/status")),
        ("GET", "/version", {}, Action("get", "/version")),
    ],
)
def test_a_path_says_what_a_request_does(method: str, path: str, params: dict[str, str], action: Action) -> None:
    assert action_of(method, path, params) == action


def test_an_answer_says_what_kind_of_error_it_is() -> None:
    listing = Action("list", "pods")
    said = error_of(listing, 403, {"kind": "Status", "message": "no"})
    assert isinstance(said, ForbiddenError)
    assert str(said) == "forbidden to list pods: no"
    busy = error_of(listing, 429, {"kind": "Status", "details": {"retryAfterSeconds": 3}})
    assert isinstance(busy, UnavailableError)
    assert busy.retry_after_s == 3.0
    ahead = {"kind": "Status", "details": {"causes": [{"reason": "ResourceVersionTooLarge"}]}}
    assert isinstance(error_of(listing, 504, ahead), GoneError)
    assert isinstance(error_of(listing, 404, "<html>"), PermanentError)
    assert isinstance(error_of(listing, 400, "<html>"), UnavailableError)


def test_waits_double_and_are_spread_and_begin_anew() -> None:
    backoff = Backoff(QUICK, lambda: 0.5)
    error = UnavailableError("away")
    assert [backoff.after(error) for _ in range(4)] == [0.05, 0.1, 0.2, 0.2]
    assert backoff.after(UnavailableError("busy", 7.0)) == 7.0
    backoff.reset()
    assert [backoff.is_first_gone(), backoff.is_first_gone()] == [True, False]


def test_changes_name_only_what_differs() -> None:
    known = {"a": 1, "b": 2, "c": 3}
    some: Changes[int] = Changes({"a": 1, "b": 3})
    assert dict(merged(known, some)) == {"b": 3}
    whole: Changes[int] = Changes({"a": 1, "d": 4}, whole=True, unread=frozenset({"c"}))
    assert dict(merged(known, whole)) == {"b": None, "d": 4}
