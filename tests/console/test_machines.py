import math
import time

import pytest

from console.machines import MOST, machines
from tests.console.conftest import Running
from tests.pipeline.store.requests import series


async def write(console: Running, instance: str, now_s: int, **of_linux: float) -> None:
    """Write a quarter of an hour of a machine with two processors that are 75 % busy."""
    for n in range(61):
        at_ms = (now_s - 900 + n * 15) * 1000
        common = {"instance": instance, "job": "node", "cluster": "c"}
        await console.store.append(
            b"".join(
                (
                    series("node_load1", (at_ms, 1.0), **common),
                    *(series("node_cpu_seconds_total", (at_ms, n * 3.75), cpu=c, mode="idle", **common) for c in "01"),
                    series("node_cpu_seconds_total", (at_ms, n * 11.25), cpu="0", mode="user", **common),
                    *(series(f"node_memory_{k}_bytes", (at_ms, v), **common) for k, v in of_linux.items()),
                    series("node_network_receive_bytes_total", (at_ms, n * 1500.0), device="eth0", **common),
                    series("node_network_receive_bytes_total", (at_ms, n * 9e9), device="lo", **common),
                    series("node_filesystem_size_bytes", (at_ms, 100.0), mountpoint="/", **common),
                    series("node_filesystem_avail_bytes", (at_ms, 40.0), mountpoint="/", **common),
                    series("node_filesystem_size_bytes", (at_ms, 0.0), mountpoint="/empty", **common),
                    series("node_filesystem_avail_bytes", (at_ms, 0.0), mountpoint="/empty", **common),
                )
            )
        )


@pytest.mark.parametrize(
    "memory",
    [{"MemTotal": 400.0, "MemAvailable": 100.0}, {"total": 400.0, "free": 60.0, "inactive": 40.0}],
    ids=["linux", "macos"],
)
async def test_a_machine_is_summed_up_from_its_series(console: Running, memory: dict[str, float]) -> None:
    now_s = int(time.time()) // 15 * 15
    await write(console, "a", now_s, **memory)
    found = await machines(console.store, now_s)
    assert found["total"] == 1
    [machine] = found["machines"]
    assert machine["labels"] == {"cluster": "c", "instance": "a", "job": "node"}
    assert machine["cpus"] == 2
    newest = {name: machine[name][-1] for name in ("cpu", "memory", "received", "full")}
    assert newest == pytest.approx({"cpu": 0.75, "memory": 0.75, "received": 100.0, "full": 0.6})
    assert machine["sent"] == []
    assert all(value is None or math.isfinite(value) for value in machine["cpu"])


async def test_of_many_machines_the_first_are_shown(console: Running) -> None:
    at_ms = int(time.time() * 1000)
    await console.store.append(
        b"".join(series("node_load1", (at_ms, 1.0), instance=f"{n:02}") for n in range(MOST + 3))
    )
    _, answer = await console.get("/api/console/machines")
    assert answer["data"]["total"] == MOST + 3
    assert [each["labels"]["instance"] for each in answer["data"]["machines"]] == [f"{n:02}" for n in range(MOST)]
