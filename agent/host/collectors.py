"""What is read from the machine: one function a node_exporter collector, each returning families.

Names, types and help are node_exporter's (github.com/prometheus/node_exporter, collector/). psutil reads what it can
read on both Linux and macOS; a few counters that it lacks come from Linux' own files. Everything here blocks.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from agent.host.families import Family

# node_exporter's defaults: partitions are part of their disk, and these file systems hold nothing that could fill up.
_IGNORED_DISKS: Final = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
_IGNORED_MOUNTS: Final = re.compile(
    r"/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
_IGNORED_TYPES: Final = frozenset(
    (
        *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devfs", "devpts", "devtmpfs"),
        *("erofs", "fusectl", "hugetlbfs", "iso9660", "mqueue", "nsfs", "overlay", "proc", "procfs", "pstore"),
        *("rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tracefs", ""),
    )
)
# Not node_exporter's: asking for the size of a file system whose server is gone may block for ever.
_REMOTE_TYPES: Final = frozenset(
    (
        *("9p", "afpfs", "ceph", "cifs", "davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
        *("glusterfs", "nfs", "nfs4", "smb3", "smbfs", "webdav"),
    )
)
_VMSTAT: Final = re.compile(r"(oom_kill|pgpg|pswp|pg.*fault)")

Collector = Callable[[], Iterable[Family]]


def collectors(proc: Path | None) -> Mapping[str, Collector]:
    """Return what is collected, by node_exporter's name of the collector; `proc` is Linux' /proc, None elsewhere."""
    found: dict[str, Collector] = {
        "boottime": boot_time,
        "cpu": cpu,
        "diskstats": disks,
        "filesystem": filesystems,
        "loadavg": load,
        "meminfo": memory if proc is None else lambda: linux_memory((proc / "meminfo").read_text()),
        "netclass": network_devices,
        "netdev": network,
        "processes": processes,
        "time": clock,
        "uname": lambda: uname(proc),
    }
    if proc is not None:
        found["filefd"] = lambda: linux_file_handles((proc / "sys/fs/file-nr").read_text())
        found["stat"] = lambda: linux_stat((proc / "stat").read_text())
        found["vmstat"] = lambda: linux_vmstat((proc / "vmstat").read_text())
    return found


def boot_time() -> Iterable[Family]:
    """When the machine started."""
    name = "node_boot_time_seconds"
    return [Family(name, "gauge", "Node boot time, in unixtime.").add(psutil.boot_time())]


def clock() -> Iterable[Family]:
    """What time it is."""
    return [Family("node_time_seconds", "gauge", "System time in seconds since epoch (1970).").add(time.time())]


def cpu() -> Iterable[Family]:
    """What each processor spent its time on; which modes there are depends on the system."""
    busy = Family("node_cpu_seconds_total", "counter", "Seconds the CPUs spent in each mode.")
    guest_help = "Seconds the CPUs spent in guests (VMs) for each mode."
    guest = Family("node_cpu_guest_seconds_total", "counter", guest_help)
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        for mode, seconds in times._asdict().items():
            if mode in ("guest", "guest_nice"):
                guest.add(seconds, cpu=str(number), mode="user" if mode == "guest" else "nice")
            else:
                busy.add(seconds, cpu=str(number), mode=mode)
    return [busy, guest]


def load() -> Iterable[Family]:
    """How many processes wanted to run."""
    return [
        # Two digits, as /proc/loadavg has them: the others would only make a history larger.
        Family(f"node_load{minutes}", "gauge", f"{minutes}m load average.").add(round(value, 2))
        for minutes, value in zip((1, 5, 15), psutil.getloadavg(), strict=True)
    ]


def memory() -> Iterable[Family]:
    """Memory where there is no /proc; named as node_exporter names it on macOS."""
    found: dict[str, Any] = psutil.virtual_memory()._asdict()
    swap = psutil.swap_memory()
    found |= {"swap_total": swap.total, "swap_used": swap.used}
    names = ("total", "free", "active", "inactive", "wired", "swap_total", "swap_used")
    values = {name: found[name] for name in names if name in found}
    return [_memory_field(f"{name}_bytes", value) for name, value in values.items()]


def linux_memory(meminfo: str) -> Iterable[Family]:
    """Every field of /proc/meminfo, in bytes."""
    families = []
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        number, *unit = rest.split()
        name = re.sub(r"\((.*)\)", r"_\1", name)
        families.append(
            _memory_field(f"{name}_bytes", int(number) * 1024) if unit else _memory_field(name, int(number))
        )
    return families


def _memory_field(name: str, value: float) -> Family:
    return Family(f"node_memory_{name}", "gauge", f"Memory information field {name}.").add(value)


_DISK_FIELDS: Final = (
    ("read_count", "reads_completed", "The total number of reads completed successfully.", 1.0),
    ("write_count", "writes_completed", "The total number of writes completed successfully.", 1.0),
    ("read_bytes", "read_bytes", "The total number of bytes read successfully.", 1.0),
    ("write_bytes", "written_bytes", "The total number of bytes written successfully.", 1.0),
    ("read_time", "read_time_seconds", "The total number of seconds spent by all reads.", 0.001),
    ("write_time", "write_time_seconds", "This is the total number of seconds spent by all writes.", 0.001),
    ("read_merged_count", "reads_merged", "The total number of reads merged.", 1.0),
    ("write_merged_count", "writes_merged", "The number of writes merged.", 1.0),
    ("busy_time", "io_time_seconds", "Total seconds spent doing I/Os.", 0.001),
)


def disks() -> Iterable[Family]:
    """What was read from and written to each disk."""
    found = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    found = {device: counters for device, counters in found.items() if not _IGNORED_DISKS.fullmatch(device)}
    families = []
    for attribute, name, help_text, unit in _DISK_FIELDS:
        family = Family(f"node_disk_{name}_total", "counter", help_text)
        for device, counters in found.items():
            if hasattr(counters, attribute):
                # Milliseconds are divided, not multiplied: 0.001 is not exact, and 3 * 0.001 would show it.
                value = getattr(counters, attribute)
                family.add(value / 1000 if unit != 1.0 else value, device=device)
        families.append(family)
    return families


def filesystems() -> Iterable[Family]:
    """How full local file systems are. Where one is mounted twice in one place, the later mount is the one in use."""
    size = Family("node_filesystem_size_bytes", "gauge", "Filesystem size in bytes.")
    free = Family("node_filesystem_free_bytes", "gauge", "Filesystem free space in bytes.")
    available_help = "Filesystem space available to non-root users in bytes."
    available = Family("node_filesystem_avail_bytes", "gauge", available_help)
    files = Family("node_filesystem_files", "gauge", "Filesystem total file nodes.")
    files_free = Family("node_filesystem_files_free", "gauge", "Filesystem total free file nodes.")
    readonly = Family("node_filesystem_readonly", "gauge", "Filesystem read-only status.")
    error_help = "Whether an error occurred while getting statistics for the given device."
    error = Family("node_filesystem_device_error", "gauge", error_help)
    for part in {part.mountpoint: part for part in psutil.disk_partitions(all=True)}.values():
        if part.fstype in _IGNORED_TYPES | _REMOTE_TYPES or _IGNORED_MOUNTS.match(part.mountpoint):
            continue
        labels = {"device": part.device, "device_error": "", "fstype": part.fstype, "mountpoint": part.mountpoint}
        try:
            found = os.statvfs(part.mountpoint)
        except OSError as failure:
            labels["device_error"] = (failure.strerror or "error").lower()
            error.add(1, **labels)
            continue
        error.add(0, **labels)
        size.add(found.f_blocks * found.f_frsize, **labels)
        free.add(found.f_bfree * found.f_frsize, **labels)
        available.add(found.f_bavail * found.f_frsize, **labels)
        files.add(found.f_files, **labels)
        files_free.add(found.f_ffree, **labels)
        readonly.add(float("ro" in part.opts.split(",")), **labels)
    return [available, error, files, files_free, free, readonly, size]


_NETWORK_FIELDS: Final = (
    ("bytes_recv", "receive_bytes"),
    ("packets_recv", "receive_packets"),
    ("errin", "receive_errs"),
    ("dropin", "receive_drop"),
    ("bytes_sent", "transmit_bytes"),
    ("packets_sent", "transmit_packets"),
    ("errout", "transmit_errs"),
    ("dropout", "transmit_drop"),
)


def network() -> Iterable[Family]:
    """What each network device received and sent."""
    found = psutil.net_io_counters(pernic=True, nowrap=False)
    families = []
    for attribute, name in _NETWORK_FIELDS:
        family = Family(f"node_network_{name}_total", "counter", f"Network device statistic {name}.")
        for device, counters in found.items():
            family.add(getattr(counters, attribute), device=device)
        families.append(family)
    return families


def network_devices() -> Iterable[Family]:
    """Which network devices there are."""
    up = Family("node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise.")
    mtu = Family("node_network_mtu_bytes", "gauge", "Network device property: mtu_bytes")
    speed = Family("node_network_speed_bytes", "gauge", "Network device property: speed_bytes")
    for device, stats in psutil.net_if_stats().items():
        up.add(float(stats.isup), device=device)
        mtu.add(stats.mtu, device=device)
        if stats.speed:
            speed.add(stats.speed * 1_000_000 / 8, device=device)
    return [mtu, speed, up]


def processes() -> Iterable[Family]:
    """How many processes there are."""
    return [Family("node_processes_pids", "gauge", "Number of PIDs").add(len(psutil.pids()))]


def uname(proc: Path | None) -> Iterable[Family]:
    """What the machine runs."""
    found = os.uname()
    domain = (proc / "sys/kernel/domainname").read_text().strip() if proc is not None else "(none)"
    help_text = "Labeled system information as provided by the uname system call."
    return [
        Family("node_uname_info", "gauge", help_text).add(
            1,
            domainname=domain,
            machine=found.machine,
            nodename=found.nodename,
            release=found.release,
            sysname=found.sysname,
            version=found.version,
        )
    ]


_STAT_FIELDS: Final = (
    ("ctxt", "context_switches_total", "counter", "Total number of context switches."),
    ("processes", "forks_total", "counter", "Total number of forks."),
    ("intr", "intr_total", "counter", "Total number of interrupts serviced."),
    ("procs_blocked", "procs_blocked", "gauge", "Number of processes blocked waiting for I/O to complete."),
    ("procs_running", "procs_running", "gauge", "Number of processes in runnable state."),
)


def linux_stat(stat: str) -> Iterable[Family]:
    """The kernel's totals of /proc/stat."""
    values = {fields[0]: int(fields[1]) for line in stat.splitlines() if len(fields := line.split(None, 2)) > 1}
    return [
        Family(f"node_{name}", kind, help_text).add(values[field])
        for field, name, kind, help_text in _STAT_FIELDS
        if field in values
    ]


def linux_vmstat(vmstat: str) -> Iterable[Family]:
    """Paging and faults from /proc/vmstat."""
    fields = (line.split() for line in vmstat.splitlines())
    return [
        Family(f"node_vmstat_{name}", "untyped", f"/proc/vmstat information field {name}.").add(int(value))
        for name, value in fields
        if _VMSTAT.match(name)
    ]


def linux_file_handles(file_nr: str) -> Iterable[Family]:
    """Open file handles from /proc/sys/fs/file-nr."""
    allocated, _, maximum = file_nr.split()
    return [
        Family("node_filefd_allocated", "gauge", "File descriptor statistics: allocated.").add(int(allocated)),
        Family("node_filefd_maximum", "gauge", "File descriptor statistics: maximum.").add(int(maximum)),
    ]
