"""A real API server with its etcd, for tests: built once with Go from the module file beside.

    async with Kubernetes(tmp_path) as cluster:
        await cluster.apply({"kind": "Pod", "metadata": {"name": "a", "namespace": "default"}, ...})
        token = await cluster.token("reader", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}])

There are no nodes, no controllers and no scheduler: objects say what the test writes into them, status included.
"""

import asyncio
import shutil
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from tests.servers.certificates import make_certificates
from tests.servers.processes import MissingServerError, Process, cache_folder, free_port, provide, run_tool

VERSION: Final = "1.36.3"
MODULE: Final = Path(__file__).with_name("kubernetes_go")
PACKAGES: Final = {"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver", "etcd": "go.etcd.io/etcd/server/v3"}
ADMIN_TOKEN: Final = "admin-token"

_PLURALS: Final = {
    "Node": ("/api/v1", "nodes"),
    "Namespace": ("/api/v1", "namespaces"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Secret": ("/api/v1", "secrets"),
    "Endpoints": ("/api/v1", "endpoints"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Job": ("/apis/batch/v1", "jobs"),
    "CronJob": ("/apis/batch/v1", "cronjobs"),
    "ServiceCIDR": ("/apis/networking.k8s.io/v1", "servicecidrs"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}
_WITHOUT_NAMESPACE: Final = {
    "Node",
    "Namespace",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ServiceCIDR",
}


class RefusedError(Exception):
    """The API server did not take a request; its status code, and what it said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def kubernetes_programs() -> Path:
    """Return the folder of kube-apiserver and etcd, built with Go once; raises MissingServerError."""
    name = f"kubernetes-{VERSION}"
    if shutil.which("go") is None and not (cache_folder() / name).exists():
        raise MissingServerError("a Kubernetes API server needs Go (no `go` on the PATH)")
    return provide(name, _build)


def _build(folder: Path) -> None:
    # The API server reads its own version, which a release's build would set.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{VERSION}"
    build = ("go", "build", "-trimpath", "-tags", "netgo", "-ldflags", flags)
    for program, package in PACKAGES.items():
        run_tool(*build, "-o", folder / program, package, cwd=MODULE, env={"CGO_ENABLED": "0"})


class Kubernetes:
    """One API server on a free loopback port, RBAC on, with an etcd of its own in `folder`."""

    def __init__(self, folder: Path, *, arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self._arguments = tuple(arguments)
        self._etcd: Process | None = None
        self._server: Process | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """Whom to trust."""
        return self.folder / "pki" / "ca.pem"

    @property
    def process(self) -> Process:
        """The API server's process."""
        assert self._server is not None
        return self._server

    async def __aenter__(self) -> Self:
        programs = await asyncio.to_thread(kubernetes_programs)
        self.folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(make_certificates, self.folder / "pki")
        (self.folder / "tokens.csv").write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        client, peer = free_port(), free_port()
        etcd = [str(programs / "etcd"), *_etcd_flags(self.folder / "etcd", client, peer)]
        for name in ("etcd-log", "server-log"):
            (self.folder / name).mkdir(exist_ok=True)
        self._etcd = Process(etcd, self.folder / "etcd-log")
        server = [str(programs / "kube-apiserver"), *self._flags(client)]
        self._server = Process(server, self.folder / "server-log")
        trust = ssl.create_default_context(cafile=self.ca_file)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))
        try:
            await self._etcd.start(lambda: self._answers(f"http://127.0.0.1:{client}/health"))
            await self.restart()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (self._server, self._etcd):
            if process is not None:
                await process.kill()  # Nothing that it holds is wanted any more.
        if self._session is not None:
            await self._session.close()

    def _flags(self, etcd_port: int) -> list[str]:
        pki = self.folder / "pki"
        return [
            f"--etcd-servers=http://127.0.0.1:{etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={pki / 'server.pem'}",
            f"--tls-private-key-file={pki / 'server.pem'}",
            f"--client-ca-file={pki / 'ca.pem'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki / 'server.key'}",
            f"--service-account-signing-key-file={pki / 'server.key'}",
            "--service-cluster-ip-range=10.96.0.0/12,fd00::/108",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--allow-privileged=true",
            *self._arguments,
        ]

    async def restart(self) -> None:
        """Start it on the same data and port, and wait until it is ready."""
        await self.process.start(lambda: self._answers(f"{self.url}/readyz"))

    async def kill(self) -> None:
        """kill -9 the API server; its etcd goes on."""
        await self.process.kill()

    async def _answers(self, url: str) -> bool:
        assert self._session is not None
        try:
            async with self._session.get(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """Ask as its administrator and return the answer's JSON; raises RefusedError."""
        assert self._session is not None
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": content_type}
        async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
            answer = await response.json()
        if response.status >= 300:
            raise RefusedError(response.status, str(answer.get("message", answer)))
        return answer

    async def text(self, path: str) -> str:
        """Ask as its administrator for what is no JSON: its own metrics."""
        assert self._session is not None
        async with self._session.get(self.url + path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as response:
            return await response.text()

    async def apply(self, item: Mapping[str, Any]) -> Any:
        """Create an object, or replace it, its status with it, and its namespace where there is none."""
        kind, metadata = item["kind"], item["metadata"]
        prefix, plural = _PLURALS[kind]
        namespace = "" if kind in _WITHOUT_NAMESPACE else metadata.get("namespace", "default")
        collection = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
        body = {**item, "apiVersion": prefix.removeprefix("/apis/").removeprefix("/api/")}
        body["metadata"] = {k: v for k, v in metadata.items() if k not in ("resourceVersion", "managedFields", "uid")}
        if namespace:
            await self.ensure_namespace(namespace)
        try:
            # First, since a service that is there is refused for its address, not for its name.
            known = await self.request("GET", f"{collection}/{metadata['name']}")
        except RefusedError as error:
            if error.status != 404:
                raise
            made = await self.request("POST", collection, body)
        else:
            body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
            made = await self.request("PUT", f"{collection}/{metadata['name']}", {**known, **body})
        if item.get("status") and kind not in ("Namespace", "Endpoints", "EndpointSlice"):
            made = await self.request(
                "PUT", f"{collection}/{metadata['name']}/status", {**made, "status": item["status"]}
            )
        return made

    async def ensure_namespace(self, name: str) -> None:
        """Create a namespace where there is none."""
        try:
            await self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        except RefusedError as error:
            if error.status != 409:
                raise

    async def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object at once."""
        prefix, plural = _PLURALS[kind]
        where = f"{prefix}/namespaces/{namespace}/{plural}" if namespace else f"{prefix}/{plural}"
        await self.request("DELETE", f"{where}/{name}", {"gracePeriodSeconds": 0})

    async def token(
        self, account: str, rules: Sequence[Mapping[str, Any]], *, namespace: str = "default", seconds: int = 3600
    ) -> str:
        """Return a new token of a service account that may do what a ClusterRole's `rules` say, everywhere."""
        await self.apply({"kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}})
        await self.apply({"kind": "ClusterRole", "metadata": {"name": account}, "rules": list(rules)})
        await self.apply(
            {
                "kind": "ClusterRoleBinding",
                "metadata": {"name": account},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
            }
        )
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        made = await self.request("POST", path, {"spec": {"expirationSeconds": seconds}})
        return str(made["status"]["token"])


def _etcd_flags(data: Path, client: int, peer: int) -> list[str]:
    return [
        f"--data-dir={data}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
