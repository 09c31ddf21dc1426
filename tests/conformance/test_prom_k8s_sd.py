"""prometheus/prometheus, discovery/kubernetes: the target groups of its tests, and of a recorded cluster.

A real API server holds the objects where it admits them as they are; a stub holds the others.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final

import pytest
import pytest_asyncio
import yaml

from agent.discovery import TargetGroup
from agent.discovery.kubernetes import Find, Resource, in_cluster
from agent.discovery.kubernetes.needs import KEPT
from tests.agent.discovery.kubernetes.following import Following, following, tools_for
from tests.agent.discovery.kubernetes.stub import StubApiServer, stub_api_server
from tests.conformance.data import folder
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes, RefusedError

CASES: Final = [json.loads(path.read_text()) for path in sorted((folder("prom-k8s-sd") / "cases").glob("*.json"))]
EXPECTED: Final = folder("prom-k8s-sd") / "clusters" / "cluster_1_31.expected_groups.json"
RECORDED: Final = folder("k8s-recorded-clusters") / "1_31"
RESOURCES: Final[dict[str, Resource]] = {resource.plural: resource for resource in KEPT}
KINDS: Final = {
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "endpoints": "Endpoints",
    "namespaces": "Namespace",
    "endpointslices": "EndpointSlice",
    "ingresses": "Ingress",
    "replicasets": "ReplicaSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
}
PLURALS: Final = {kind: plural for plural, kind in KINDS.items()}

NOW: Final = "2026-01-01T00:00:00Z"
SELECTORS: Final[dict[str, list[dict[str, str]]]] = {
    "TestPodDiscoveryWithNodeSelector": [{"role": "node", "label": "node-type=worker"}]
}
"""What a test sets beside its data."""


def _owned(kind: str, name: str, by: str, by_name: str) -> dict[str, Any]:
    owner = {"apiVersion": "v1", "controller": True, "kind": by, "name": by_name, "uid": f"{by_name}-uid"}
    template: dict[str, Any] = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    spec: dict[str, Any] = {"template": template}
    if kind == "ReplicaSet":
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "default", "ownerReferences": [owner]},
        "spec": spec,
    }


BESIDE: Final[dict[str, dict[str, Any]]] = {
    "TestPodDiscoveryWithCronJobUpdate": _owned("Job", "testcronjob-job-abc", "CronJob", "testcronjob"),
    "TestPodDiscoveryWithDeployment": _owned("ReplicaSet", "testdeployment-rs-abc", "Deployment", "testdeployment"),
}
"""Objects behind a pod's controller, which the data leave out."""

Groups = dict[str, tuple[list[dict[str, str]], dict[str, str]]]


def expected_groups(groups: Mapping[str, Any]) -> Groups:
    """Return Prometheus' groups; an empty label is none, and a group without targets and labels says what is gone."""
    return {
        source: (_sorted(group["Targets"] or []), _filled(group["Labels"] or {}))
        for source, group in groups.items()
        if group["Targets"] or group["Labels"]
    }


def given_groups(groups: list[TargetGroup], expected: Groups) -> Groups:
    """Return ours; the server's own service is none of a case's objects."""
    given = {group.source: (_sorted(group.targets), _filled(group.labels)) for group in groups}
    if (own := "svc/default/kubernetes") not in expected:
        given.pop(own, None)
    return given


def _sorted(targets: Any) -> list[dict[str, str]]:
    return sorted((_filled(target) for target in targets), key=lambda target: sorted(target.items()))


def _filled(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}


SERVICES_OF_THE_CASES: Final = {
    "kind": "ServiceCIDR",
    "metadata": {"name": "cases"},
    "spec": {"cidrs": ["10.0.0.0/24"]},
    "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": NOW}]},
}
"""Their services have addresses of another range than the server's own."""


class Bed:
    """An API server that holds the objects of one case."""

    async def put(self, item: Mapping[str, Any]) -> None:
        raise NotImplementedError

    async def remove(self, kind: str, name: str, namespace: str) -> None:
        raise NotImplementedError

    def adapted(self, expected: Groups) -> Groups:
        """Return what is expected where the server itself adds to what it holds."""
        return expected


class Stubbed(Bed):
    def __init__(self, stub: StubApiServer) -> None:
        self._stub = stub

    async def put(self, item: Mapping[str, Any]) -> None:
        if (resource := RESOURCES.get(PLURALS[item["kind"]])) is not None:
            await self._stub.put(resource, item)

    async def remove(self, kind: str, name: str, namespace: str) -> None:
        await self._stub.remove(RESOURCES[PLURALS[kind]], name, namespace)


class Real(Bed):
    """Pods get a uid of the server's own, and namespaces a label with their name."""

    def __init__(self, cluster: Kubernetes) -> None:
        self._cluster = cluster
        self._uids: dict[str, str] = {}
        self._held: dict[tuple[str, str, str], None] = {}

    async def put(self, item: Mapping[str, Any]) -> None:
        made = await self._cluster.apply(item)
        self._held[item["kind"], item["metadata"]["name"], item["metadata"].get("namespace", "")] = None
        if lost := [name for name in _lost({**item, "metadata": {}}, made) if name not in ("kind", "apiVersion")]:
            raise RefusedError(422, f"the server leaves out {lost}")
        if item["kind"] == "Pod":
            self._uids[item["metadata"]["uid"]] = made["metadata"]["uid"]

    async def remove(self, kind: str, name: str, namespace: str) -> None:
        await self._cluster.delete(kind, name, namespace)
        del self._held[kind, name, namespace]

    async def clear(self) -> None:
        for kind, name, namespace in list(self._held):
            if kind != "Namespace":
                await self.remove(kind, name, namespace)

    def adapted(self, expected: Groups) -> Groups:
        return {
            source: ([self._labels(target) for target in targets], self._labels(labels))
            for source, (targets, labels) in expected.items()
        }

    def _labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        name, stem = "__meta_kubernetes_pod_uid", "__meta_kubernetes_namespace_label"
        out = dict(labels)
        if name in labels:
            out[name] = self._uids.get(labels[name], labels[name])
        if any(label.startswith(stem) for label in labels):
            out[f"{stem}_kubernetes_io_metadata_name"] = labels["__meta_kubernetes_namespace"]
            out[f"{stem}present_kubernetes_io_metadata_name"] = "true"
        return out


def _lost(given: Any, made: Any) -> list[str]:
    """Return the keys that hold something in what was given and are not in what was made of it."""
    if isinstance(given, Mapping):
        inner = [name for key, value in given.items() if value for name in _lost(value, (made or {}).get(key))]
        return [key for key, value in given.items() if value and not (made or {}).get(key)] + inner
    if isinstance(given, list):
        return [name for one, other in zip(given, made or given, strict=False) for name in _lost(one, other)]
    return []


async def run_case(case: dict[str, Any], bed: Bed, find: Find) -> None:
    """Hold what is given at last against what is expected; raises RefusedError where an object is not admitted."""
    for item in [*case["initial_objects"], *filter(None, [BESIDE.get(case["test"])])]:
        await bed.put(item)
    config = {
        "role": case["role"],
        "namespaces": {
            "names": case["namespaces"]["names"] or [],
            "own_namespace": case["namespaces"]["own_namespace"],
        },
        "selectors": SELECTORS.get(case["test"], []),
        "attach_metadata": {name.lower(): on for name, on in case["attach_metadata"].items()},
    }
    async with tools_for(find) as tools, following(tools, config) as found:
        await found.until(lambda found: bool(found.given))
        for event in case["events_after_start"]:
            kind = KINDS[event["resource"]]
            if event["verb"] == "delete":
                await bed.remove(kind, event["name"], event["namespace"])
            else:
                await bed.put({**event["object"], "kind": kind})
        await reach(found, bed.adapted(expected_groups(case["expected_groups"])))


async def reach(found: Following, expected: Groups) -> None:
    """Wait until what is given is what is expected; fails with the difference."""
    with contextlib.suppress(AssertionError):
        await found.until(lambda found: given_groups(found.groups, expected) == expected)
    assert given_groups(found.groups, expected) == expected
    assert not found.failures


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Kubernetes, Find]]:
    """An API server of these cases alone, found as a pod finds it."""
    account = tmp_path_factory.mktemp("serviceaccount")
    async with Kubernetes(tmp_path_factory.mktemp("cases")) as cluster:
        await cluster.apply(SERVICES_OF_THE_CASES)
        (account / "token").write_text(ADMIN_TOKEN)
        (account / "ca.crt").write_bytes(cluster.ca_file.read_bytes())
        (account / "namespace").write_text("own-ns")
        host, port = cluster.url.removeprefix("https://").split(":")
        yield cluster, partial(in_cluster, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}, account)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["test"])
async def test_a_case_gives_prometheus_groups_through_a_stub(case: dict[str, Any]) -> None:
    async with stub_api_server() as stub:
        await run_case(case, Stubbed(stub), partial(stub.cluster, "own-ns"))


@pytest.mark.kubernetes
@pytest.mark.asyncio(loop_scope="module")
async def test_cases_give_prometheus_groups_through_a_real_api_server(
    real: tuple[Kubernetes, Find], record_property: Callable[[str, object], None]
) -> None:
    cluster, find = real
    admitted, refused = list[str](), dict[str, str]()
    for case in CASES:
        bed = Real(cluster)
        try:
            await run_case(case, bed, find)
            admitted.append(case["test"])
        except RefusedError as error:
            refused[case["test"]] = str(error)
        await bed.clear()
    record_property("admitted", len(admitted))
    record_property("refused", refused)
    assert (len(admitted), len(refused)) == (18, 19), refused


def recorded_objects() -> list[dict[str, Any]]:
    """Return the recorded cluster's objects, in the order in which they can be made."""
    return [
        item
        for kind in ("namespaces", "nodes", "services", "endpoints", "pods")
        for item in yaml.load((RECORDED / f"{kind}.yaml").read_text(), yaml.CSafeLoader)["items"]
    ]


async def check_recorded(bed: Bed, find: Find) -> None:
    """Hold a recorded cluster's groups, role by role, against Prometheus'."""
    for item in recorded_objects():
        await bed.put(item)
    for name, groups in json.loads(EXPECTED.read_text()).items():
        role, _, attached = name.partition("+")
        config = {"role": role, "attach_metadata": {"node": bool(attached), "namespace": bool(attached)}}
        async with tools_for(find) as tools, following(tools, config) as found:
            await found.until(lambda found: bool(found.given))
            await reach(found, bed.adapted(expected_groups(groups)))


async def test_a_recorded_cluster_gives_prometheus_groups_through_a_stub() -> None:
    async with stub_api_server() as stub:
        await check_recorded(Stubbed(stub), stub.cluster)


@pytest.mark.kubernetes
@pytest.mark.asyncio(loop_scope="module")
async def test_a_recorded_cluster_gives_prometheus_groups_through_a_real_api_server(
    real: tuple[Kubernetes, Find],
) -> None:
    cluster, find = real
    await check_recorded(Real(cluster), find)
