import os
import re
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web

from agent.host import HostPage, node_exporter_answers, page
from agent.host.collectors import linux_memory, linux_stat, linux_vmstat
from agent.host.families import Family, render
from agent.host.page import collect
from pipeline.config import Address

CONFORMANCE = Path(os.environ.get("CONFORMANCE_DIR", Path(__file__).parents[4] / "shared/conformance"))
GOLDEN = CONFORMANCE / "exposition/node_exporter_e2e-output.prom"
# The golden page comes from a run without the filesystem collector, and lacks the samples that differ from run to run.
# These labels are from node_exporter 1.9 itself: its filesystem, netdev, time and uname collectors, and collector.go.
FILESYSTEM = ("avail_bytes", "device_error", "files", "files_free", "free_bytes", "readonly", "size_bytes")
TRAFFIC = ("receive_bytes", "receive_packets", "transmit_bytes", "transmit_packets")
NOT_IN_PAGE: dict[str, tuple[str, set[str]]] = {
    **{f"node_filesystem_{n}": ("gauge", {"device", "device_error", "fstype", "mountpoint"}) for n in FILESYSTEM},
    **{f"node_network_{n}_total": ("counter", {"device"}) for n in TRAFFIC},
    "node_scrape_collector_duration_seconds": ("gauge", {"collector"}),
    "node_time_seconds": ("gauge", set()),
    "node_boot_time_seconds": ("gauge", set()),
    "node_uname_info": ("gauge", {"domainname", "machine", "nodename", "release", "sysname", "version"}),
}


def read(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return each metric's type and the names of all labels that it has anywhere."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    found: dict[str, tuple[str, set[str]]] = {}
    for name, labels in re.findall(r"^([a-zA-Z_:]\w*)(?:\{(.*)\})? \S+$", text, re.M):
        names = set(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', labels))
        found.setdefault(name, (kinds.get(name, "?"), set()))[1].update(names)
    return found


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"{GOLDEN} is missing: set CONFORMANCE_DIR")
def test_names_types_and_labels_are_node_exporters() -> None:
    golden = read(GOLDEN.read_text()) | NOT_IN_PAGE
    ours = read(page().decode())
    unknown = {name: what for name, what in ours.items() if golden.get(name) != what}
    # The fields of /proc/meminfo are the kernel's: one newer or older than the golden page's has others.
    assert {name: what for name, what in unknown.items() if not name.startswith("node_memory_")} == {}
    assert {what[0] for name, what in unknown.items()} <= {"gauge"}
    assert not any(what[1] for what in unknown.values())
    assert sum(name.startswith("node_memory_") for name in golden.keys() & ours.keys()) > 20 or sys.platform != "linux"


def test_the_page_has_what_dashboards_begin_with() -> None:
    text = page().decode()
    for name in ("cpu_seconds_total", "load1", "boot_time_seconds", "time_seconds", "uname_info", "processes_pids"):
        assert re.search(rf"^node_{name}(\{{.*\}})? ", text, re.M), name
    assert 'node_cpu_seconds_total{cpu="0",mode="idle"}' in text
    assert re.search(r"^node_(memory_MemTotal_bytes|memory_total_bytes) [1-9]", text, re.M)
    assert re.search(r'^node_network_receive_bytes_total\{device="lo', text, re.M)
    assert not re.search(r'^node_scrape_collector_success\{collector="(cpu|meminfo|netdev|time)"\} 0', text, re.M)


def test_counters_of_linux_are_read_as_node_exporter_reads_them() -> None:
    meminfo = "MemTotal:       16042172 kB\nActive(anon):    1763228 kB\nHugePages_Total:       3\n"
    assert render(linux_memory(meminfo)).decode() == (
        "# HELP node_memory_MemTotal_bytes Memory information field MemTotal_bytes.\n"
        "# TYPE node_memory_MemTotal_bytes gauge\nnode_memory_MemTotal_bytes 16427184128\n"
        "# HELP node_memory_Active_anon_bytes Memory information field Active_anon_bytes.\n"
        "# TYPE node_memory_Active_anon_bytes gauge\nnode_memory_Active_anon_bytes 1805545472\n"
        "# HELP node_memory_HugePages_Total Memory information field HugePages_Total.\n"
        "# TYPE node_memory_HugePages_Total gauge\nnode_memory_HugePages_Total 3\n"
    )
    stat = "cpu  1 2 3\nintr 88 1 2 3\nctxt 38014093\nprocesses 26442\nprocs_running 2\nprocs_blocked 1\n"
    found = {family.name: family.samples[0][1] for family in linux_stat(stat)}
    assert found["node_intr_total"] == 88
    assert found["node_forks_total"] == 26442
    assert found["node_procs_running"] == 2
    assert [f.name for f in linux_vmstat("nr_free 1\npgfault 7\npswpin 8\n")] == [
        "node_vmstat_pgfault",
        "node_vmstat_pswpin",
    ]


def test_hostile_names_are_escaped() -> None:
    family = Family("a", "gauge", "one\nline").add(1.5, mountpoint='/mnt/"x"\n\\', device="\udcff")
    assert render([family]).decode() == (
        '# HELP a one\\nline\n# TYPE a gauge\na{mountpoint="/mnt/\\"x\\"\\n\\\\",device="?"} 1.5\n'
    )


def test_a_collector_that_fails_costs_its_own_families_and_says_so() -> None:
    def denied() -> list[Family]:
        raise psutil.AccessDenied

    text = render(collect({"bad": denied, "good": lambda: [Family("a", "gauge", "A.").add(1)]})).decode()
    assert "\na 1\n" in text
    assert 'node_scrape_collector_success{collector="bad"} 0' in text
    assert 'node_scrape_collector_success{collector="good"} 1' in text


async def test_the_page_is_served_and_is_recognised_for_what_it_is() -> None:
    host = HostPage()
    await host.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{host.address.port}/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"node_load1 " in await response.read()
        assert await node_exporter_answers(session, host.address)
        await host.drain()
        assert not await node_exporter_answers(session, host.address)


async def test_something_else_on_that_port_is_not_taken_for_a_node_exporter() -> None:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="some_other_metric 1\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        assert not await node_exporter_answers(session, Address(host="127.0.0.1", port=runner.addresses[0][1]))
    await runner.cleanup()
