"""`./run bench NAME ...`: the benchmarks behind the README's figures, each with the peers that are installed beside it.

agents        CPU and memory of a scraping agent, 100,000 series, 2 % and 100 % of the values changing
node          the same at 5,000 series every 15 s, a usual node
curve         cost from 10,000 to 1,000,000 series a scrape cycle, many targets
kubernetes    an agent that follows 10,000 pods of a real API server, 1,000 of them changing a minute
sharing       what 100 agents that share a cluster's work ask of a real API server
pipe          gateway + Kafka + ingester, from a push to the store
logs          CPU and memory of a log agent, from 50 files of CRI lines to a sink
stages        what the stages of logs cost a line, compiled and in Python
log-pipe      pipe with log lines
elasticsearch the sink against a real Elasticsearch and OpenSearch: documents a second, and who is at their limit
backlog       an ingester that drains 50 M samples from Kafka: its memory over time
kill          pipe with the gateway, then the ingester, killed with -9 halfway
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from bench import agents, backlog, logs, pipe
from bench.processes import free_port

PRONOIA = f"{sys.executable} -m pronoia"
# What all agents read is a plain Prometheus file; ours gets a port of its own for its metrics.
AGENT = (
    'sh -c "{{ cat {config}; echo admin: 127.0.0.1:{admin}; }} > {dir}/pronoia.yml'
    f' && exec {PRONOIA} agent --config {{dir}}/pronoia.yml --data {{dir}}/data --log-level warning"'
)
TOKEN = "Authorization: Bearer a-token"
LOG_AGENT = f"{PRONOIA} agent --config {{dir}}/pronoia.yml --data {{dir}}/data --log-level warning"
LOG_PEERS = {
    "promtail": "promtail -config.file={dir}/promtail.yml",
}
PEERS = {
    "prometheus": "prometheus --enable-feature=agent --config.file={config} --storage.agent.path={dir}/wal"
    " --web.listen-address=127.0.0.1:0",
    "vmagent": "vmagent -httpListenAddr=127.0.0.1:0 -promscrape.config={config} -promscrape.maxScrapeSize=64MB"
    " -remoteWrite.url={write} -remoteWrite.tmpDataPath={dir}/q{norw}",
}


def agent_commands() -> list[str]:
    """Return ours, then the peers that are installed, as `bench.agents` takes them."""
    return [f"pronoia={AGENT}", *(f"{name}={command}" for name, command in PEERS.items() if shutil.which(name))]


async def measure_agents() -> None:
    """Compare agents at 100,000 series of one target; Y is Prometheus in the same run."""
    for churn in ("0.02", "1"):
        costs = await agents.main(["--churn", churn, *agent_commands()])
        _ratios(costs)


async def measure_node() -> None:
    """Compare agents at a usual node."""
    await agents.main(["--series", "5000", "--interval", "15", "--seconds", "60", *agent_commands()])


async def measure_curve() -> None:
    """Show how cost grows with the number of targets."""
    for targets in (10, 100, 300, 1000):
        options = ["--series", "1000", "--targets", str(targets), "--interval", "15", "--seconds", "45"]
        _ratios(await agents.main([*options, *agent_commands()]))


async def measure_kubernetes() -> None:
    """Follow a cluster; the Prometheus is the one that the tests build, or Debian's."""
    from bench import kubernetes
    from tests.servers.prometheus import prometheus_program

    program = prometheus_program()
    mode = "--agent" if program.version >= (3, 0, 0) else "--enable-feature=agent"
    flags = "--config.file={config} --storage.agent.path={dir}/wal --web.listen-address=127.0.0.1:{port}"
    await kubernetes.main([f"pronoia={AGENT}", f"prometheus={program.path} {mode} {flags}"])


async def measure_sharing() -> None:
    """Share among a hundred simulated agents, and beside it poll."""
    from bench import sharing

    await sharing.main([])


def _ratios(costs: list[agents.Cost]) -> None:
    yardstick = next((cost.cpu_s_per_million for cost in costs if cost.name == "prometheus"), None)
    if yardstick:
        shares = (f"{cost.name} {cost.cpu_s_per_million / yardstick:.2f} Y" for cost in costs)
        print(f"  Y = {yardstick:.2f} s/M (prometheus): {', '.join(shares)}", flush=True)


async def measure_pipe(*more: str) -> None:
    """Carry samples through a real Kafka, identity check on, acks=all."""
    async with centre() as (url, *commands):
        await pipe.main([*more, "--header", TOKEN, ",".join(("pronoia", url, *commands))])


async def measure_stages() -> None:
    """Send blocks through stages, nothing else."""
    from bench import stages

    stages.main([])


async def measure_log_pipe() -> None:
    """Carry log lines through a real Kafka, identity check on, acks=all."""
    async with centre("loki", "/loki/api/v1/push") as (url, *commands):
        options = ["--signal", "logs", "--header", TOKEN]
        await pipe.main([*options, ",".join(("pronoia", url, *commands))])


async def measure_logs() -> None:
    """Compare log agents, as their users would configure them, disk positions on."""
    carried = await logs.main([f"pronoia={LOG_AGENT}", *(f"{n}={c}" for n, c in LOG_PEERS.items() if shutil.which(n))])
    ours, *peers = carried
    for peer in peers:
        cost, rate = ours.cpu_s_per_million / peer.cpu_s_per_million, peer.took_s / ours.took_s
        print(f"  beside {peer.name}: {cost:.2f} of its CPU a line, {rate:.1f} times its lines a second", flush=True)


async def measure_elasticsearch() -> None:
    """Index into real servers, logs and metrics."""
    from bench import elasticsearch

    for server in ("elasticsearch", "opensearch"):
        for signal in ("logs", "metrics"):
            await elasticsearch.main(["--server", server, "--signal", signal])


async def measure_backlog() -> None:
    """Drain a backlog from a real Kafka."""
    async with centre() as (url, gateway, ingester):
        await backlog.main(["--header", TOKEN, url, gateway, ingester])


@asynccontextmanager
async def centre(sink: str = "remote_write", path: str = "/api/v1/write") -> AsyncIterator[tuple[str, str, str]]:
    """Run Kafka; give the URL to push to, and the commands of one gateway and one ingester on it."""
    from tests.servers.kafka import Kafka

    with tempfile.TemporaryDirectory() as folder:
        async with Kafka(Path(folder)) as kafka:
            yield commands_on(Path(folder), kafka.address, sink, path)


def commands_on(folder: Path, broker: str, sink: str, path: str) -> tuple[str, str, str]:
    """Write configurations for one gateway and one ingester; see `centre`."""
    grpc, http, admins = free_port(), free_port(), (free_port(), free_port())
    log = f'{{kafka: {{brokers: ["{broker}"], partitions: 6, replication: 1, min_in_sync: 1}}}}'
    (folder / "gateway.yml").write_text(
        f'listen: {{grpc: "127.0.0.1:{grpc}", http: "127.0.0.1:{http}", admin: "127.0.0.1:{admins[0]}"}}\n'
        f"log: {log}\nclusters: [{{name: c1, tokens: [a-token]}}]\n"
    )
    (folder / "ingester.yml").write_text(
        f"log: {log}\nadmin: 127.0.0.1:{admins[1]}\nsinks: [{{name: store, {sink}: {{url: WRITE}}}}]\n"
    )
    # The sink's address is known only when it listens: $1, put into a copy of the file in the fresh folder $2.
    (folder / "ingester.sh").write_text(
        f'sed "s#WRITE#$1#" {folder}/ingester.yml > "$2/ingester.yml"\n'
        f'exec {PRONOIA} ingester --config "$2/ingester.yml" --log-level warning\n'
    )
    gateway = f"{PRONOIA} gateway --config {folder}/gateway.yml --log-level warning"
    return f"http://127.0.0.1:{http}{path}", gateway, f"sh {folder}/ingester.sh {{write}} {{dir}}"


async def measure_kill() -> None:
    """Kill the gateway, then the ingester, halfway."""
    for process in ("1", "2"):
        await measure_pipe("--items", "2000000", "--kill", process)


BENCHMARKS: dict[str, Callable[[], Coroutine[None, None, None]]] = {
    "agents": measure_agents,
    "node": measure_node,
    "curve": measure_curve,
    "kubernetes": measure_kubernetes,
    "sharing": measure_sharing,
    "pipe": measure_pipe,
    "logs": measure_logs,
    "stages": measure_stages,
    "log-pipe": measure_log_pipe,
    "elasticsearch": measure_elasticsearch,
    "backlog": measure_backlog,
    "kill": measure_kill,
}


def main() -> None:
    """Run the benchmarks that are named, or all of them."""
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.exit(f"no benchmark is named {', '.join(unknown)}\n\n{__doc__}")
    for name in names:
        print(f"== {name}", flush=True)
        asyncio.run(BENCHMARKS[name]())


if __name__ == "__main__":
    main()
