"""What becomes of a syslog message: an entry with the labels of promtail's `syslog`, or nothing."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

from agent.config.syslog import SyslogConfig
from agent.inputs.labels import Labels
from agent.inputs.ticks import Ticks
from agent.logs.entry import Entry
from agent.logs.input import BY_RULES, InputTools
from pipeline.wire.syslog import Message, parse

_META: Final = "__syslog_"
_NAMES: Final = slice(3, 7)
"""Where a message has its host's, program's, process' and kind's names."""
_NO_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")


class SyslogEntries:
    """Makes entries of one listener's frames."""

    def __init__(self, config: SyslogConfig, tools: InputTools) -> None:
        self._config = config
        self._tools = tools
        self._ticks = Ticks(tools.clock)
        self._labels = Labels(tools.relabel, config.labels)

    def of(self, frames: Iterable[bytes], address: str, hostname: str) -> Iterator[Entry]:
        """Yield the entries of messages that came from an address just now."""
        now_ns = self._tools.now_ns()
        connection = {f"{_META}connection_ip_address": address}
        if hostname:
            connection[f"{_META}connection_hostname"] = hostname
        old = self._config.syslog_format == "rfc3164"
        for frame in frames:
            message = parse(frame, now_ns, old=old)
            line = message.text
            if self._config.use_rfc5424_message:
                line = frame.decode(errors="replace").rstrip("\r\n\0")
            if not line:
                self._tools.drop("empty_syslog_message")
                continue
            key = (address, hostname, message.priority, message[_NAMES], self._elements(message))
            labels = self._labels.by(key, partial(self._found, connection, message))
            if labels is None:
                self._tools.drop(BY_RULES)
                continue
            own_ns = message.time_ns if self._config.use_incoming_timestamp else None
            yield Entry(labels, self._ticks.next_ns() if own_ns is None else own_ns, line)

    def _elements(self, message: Message) -> str:
        return repr(message.elements) if self._config.label_structured_data and message.elements else ""

    def _found(self, connection: Mapping[str, str], message: Message) -> dict[str, str]:
        found = {
            "severity": message.severity,
            "facility": message.facility,
            "hostname": message.hostname,
            "app_name": message.app_name,
            "proc_id": message.proc_id,
            "msg_id": message.msg_id,
        }
        labels = {**connection, **{f"{_META}message_{name}": value for name, value in found.items() if value}}
        if self._config.label_structured_data:
            for element, parameters in message.elements.items():
                for name, value in parameters.items():
                    labels[_NO_LABEL.sub("_", f"{_META}message_sd_{element}_{name}")] = value
        return labels
