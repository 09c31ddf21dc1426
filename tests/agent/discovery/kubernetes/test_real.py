"""Kubernetes discovery on a real API server: what it allows, its kills, its tokens that run out."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from agent.config.kubernetes import ROLES, KubernetesSdConfig
from agent.discovery.kubernetes import ApiServer, Cluster, ConflictError, ForbiddenError, NotFoundError, in_cluster
from agent.discovery.kubernetes.needs import needed
from agent.discovery.kubernetes.resources import LEASES, PODS
from pipeline.http_config import HttpClientConfig
from tests.agent.discovery.kubernetes.following import following, tools_for
from tests.servers.kubernetes import ADMIN_TOKEN, Kubernetes

pytestmark = [pytest.mark.kubernetes, pytest.mark.asyncio(loop_scope="session")]


def pod(name: str, namespace: str, ip: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 9100}]}]},
        "status": {"phase": "Running", "podIP": ip},
    }


def cluster_of(kubernetes: Kubernetes, token: str = ADMIN_TOKEN) -> Cluster:
    section = {"authorization": {"credentials": token}, "tls_config": {"ca_file": kubernetes.ca_file}}
    return Cluster(kubernetes.url, HttpClientConfig.model_validate(section))


def rule(*resources: str, group: str = "", verbs: tuple[str, ...] = ("list", "watch")) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}


async def test_targets_stay_while_the_api_server_is_killed_and_changes_follow(tmp_path: Path) -> None:
    async with Kubernetes(tmp_path / "own") as own, tools_for(lambda: cluster_of(own)) as tools:
        await own.apply(pod("a", "here"))
        async with following(tools, {"role": "pod", "namespaces": {"names": ["here"]}}) as found:
            await found.until(lambda found: found.addresses == ["127.0.0.1:9100"])
            await own.kill()
            await found.until(lambda found: any("cannot connect to 127.0.0.1:" in reason for reason in found.failures))
            assert found.addresses == ["127.0.0.1:9100"]
            await own.restart()
            await own.apply(pod("b", "here", "127.0.0.2"))
            await found.until(lambda found: found.addresses == ["127.0.0.1:9100", "127.0.0.2:9100"])
            assert not found.failures
            assert all(len(groups) > 0 for groups in found.given)


async def test_a_role_that_rbac_forbids_is_named_and_the_rest_goes_on(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(pod("a", "rbac"))
    token = await kubernetes.token("only-pods", [rule("pods")])
    async with tools_for(lambda: cluster_of(kubernetes, token)) as tools:
        where = {"namespaces": {"names": ["rbac"]}}
        async with (
            following(tools, {"role": "pod", **where}, "pods") as pods,
            following(tools, {"role": "service", **where}, "services") as services,
        ):
            await pods.until(lambda pods: pods.addresses == ["127.0.0.1:9100"])
            await services.until(lambda services: bool(services.given))
            assert services.groups == []
            (said,) = services.failures
            assert said.startswith("forbidden to list services in namespace rbac: services is forbidden: User ")
            assert not pods.failures
            # Once it is allowed, nothing need be restarted.
            service = {
                "kind": "Service",
                "metadata": {"name": "s", "namespace": "rbac"},
                "spec": {"ports": [{"port": 1}]},
            }
            await kubernetes.apply(service)
            await kubernetes.token("only-pods", [rule("pods", "services")])
            await services.until(lambda services: services.addresses == ["s.rbac.svc:1"])
            assert not services.failures


@pytest.mark.parametrize("role", ROLES)
async def test_what_the_documentation_allows_a_role_is_what_it_needs(kubernetes: Kubernetes, role: str) -> None:
    page = (Path(__file__).parents[4] / "docs" / "kubernetes.md").read_text()
    texts = [text.split("```")[0] for text in page.split("```yaml\n")[1:]]
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    rules = next(item["rules"] for item in documents if (item.get("metadata") or {}).get("name") == f"pronoia-{role}")
    token = await kubernetes.token(f"documented-{role}", rules)
    async with (
        tools_for(lambda: cluster_of(kubernetes, token)) as tools,
        following(tools, {"role": role}) as found,
    ):
        await found.until(lambda found: bool(found.given))
        assert not found.failures
    config = KubernetesSdConfig.model_validate({"role": role})
    assert config.role is not None
    allowed = {name for entry in rules for name in entry["resources"]}
    assert allowed == {resource.plural for resource in needed(config.role, config.attach_metadata)}


async def test_a_server_that_is_not_trusted_is_named(kubernetes: Kubernetes) -> None:
    stranger = Cluster(kubernetes.url, HttpClientConfig.model_validate({"bearer_token": ADMIN_TOKEN}))
    async with tools_for(lambda: stranger) as tools, following(tools, {"role": "node"}) as found:
        await found.until(lambda found: bool(found.given))
        (said,) = found.failures
        assert said.startswith("cannot list nodes: 127.0.0.1:")
        assert "is not trusted: [SSL: CERTIFICATE_VERIFY_FAILED]" in said


async def test_a_token_is_read_again_when_it_is_rotated(tmp_path: Path) -> None:
    async with Kubernetes(tmp_path / "own") as own:
        account = tmp_path / "account"
        account.mkdir()
        (account / "ca.crt").write_bytes(own.ca_file.read_bytes())
        (account / "namespace").write_text("here\n")
        (account / "token").write_text("one-that-is-not-known")
        await own.apply(pod("a", "here"))
        token = await own.token("agent", [rule("pods")])
        host, port = own.url.removeprefix("https://").split(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        async with (
            tools_for(lambda: in_cluster(environment, account)) as tools,
            following(tools, {"role": "pod", "namespaces": {"own_namespace": True}}) as found,
        ):
            await found.until(lambda found: bool(found.given))
            assert "Unauthorized" in found.failures[0]
            (account / "token.new").write_text(token)
            (account / "token.new").rename(account / "token")
            await found.until(lambda found: found.addresses == ["127.0.0.1:9100"])


async def test_a_kubeconfig_with_a_client_certificate_is_enough(kubernetes: Kubernetes, tmp_path: Path) -> None:
    await kubernetes.apply(pod("a", "kubeconfig"))
    pki = kubernetes.ca_file.parent
    await kubernetes.token("certified", [rule("pods")])
    # The certificate's common name is the user.
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "c1"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "certified"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "c1"}],
    }
    await kubernetes.apply(binding)
    ca = str(pki / "ca.pem")
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": kubernetes.url, "certificate-authority": ca}}],
        "users": [
            {
                "name": "u",
                "user": {"client-certificate": str(pki / "client.crt"), "client-key": str(pki / "client.key")},
            }
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    section = {"role": "pod", "kubeconfig_file": str(path), "namespaces": {"names": ["kubeconfig"]}}
    async with tools_for() as tools, following(tools, section) as found:
        await found.until(lambda found: found.addresses == ["127.0.0.1:9100"])
        assert not found.failures


async def test_selectors_are_the_servers_work(kubernetes: Kubernetes) -> None:
    await kubernetes.apply(pod("on-n1", "selected"))
    elsewhere = pod("on-n2", "selected", "127.0.0.2")
    elsewhere["spec"]["nodeName"] = "n2"
    await kubernetes.apply(elsewhere)
    section = {
        "role": "pod",
        "namespaces": {"names": ["selected"]},
        "selectors": [{"role": "pod", "field": "spec.nodeName=n2"}],
    }
    async with tools_for(lambda: cluster_of(kubernetes)) as tools, following(tools, section) as found:
        await found.until(lambda found: found.addresses == ["127.0.0.2:9100"])
        wrong = {**section, "selectors": [{"role": "pod", "field": "spec.nosuch=n2"}]}
        async with following(tools, wrong, "wrong") as refused:
            await refused.until(lambda refused: bool(refused.given))
            assert refused.failures == [
                "cannot list pods in namespace selected: field label not supported: spec.nosuch"
            ]


async def test_requests_raise_what_the_server_says(kubernetes: Kubernetes) -> None:
    await kubernetes.ensure_namespace("requests")
    token = await kubernetes.token("leases", [rule("leases", group="coordination.k8s.io", verbs=("*",))])
    async with aiohttp.ClientSession() as session:
        server = ApiServer(lambda: cluster_of(kubernetes, token), session)
        path = LEASES.path("requests", "one")
        with pytest.raises(NotFoundError, match=r"cannot get leases\.coordination\.k8s\.io in namespace requests: "):
            await server.request("GET", path)
        lease = {"metadata": {"name": "one"}, "spec": {"holderIdentity": "a"}}
        made = await server.request("POST", LEASES.path("requests"), body=lease)
        with pytest.raises(ConflictError):
            await server.request("POST", LEASES.path("requests"), body=lease)
        made["spec"]["holderIdentity"] = "b"
        await server.request("PUT", path, body=made)
        with pytest.raises(ConflictError, match="the object has been modified"):
            await server.request("PUT", path, body=made)
        merge = {"spec": {"holderIdentity": "c"}}
        merged = await server.request("PATCH", path, body=merge, content_type="application/merge-patch+json")
        assert merged["spec"]["holderIdentity"] == "c"
        await server.request("DELETE", path)
        with pytest.raises(ForbiddenError, match="forbidden to delete pods in namespace requests: pods "):
            await server.request("DELETE", PODS.path("requests", "p"))
