"""`ec2_sd_configs`: the instances of an AWS account in a region. Source: prometheus, discovery/aws/ec2.go; Amazon EC2
API Reference, DescribeInstances and DescribeAvailabilityZones.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree.ElementTree import Element

from agent.config.ec2 import Ec2SdConfig
from agent.discovery.aws import Aws
from agent.discovery.ec2_targets import targets_of
from agent.discovery.groups import TargetGroup
from agent.discovery.refresh import refreshed
from agent.discovery.tools import Groups, Place, Tools
from pipeline.errors import PermanentError, PipelineError

logger = logging.getLogger(__name__)

API_VERSION: Final = "2016-11-15"
PAGE_INSTANCES: Final = 1000
"""The most that EC2 gives at once."""
MAX_PAGES: Final = 200


def ec2_groups(config: Ec2SdConfig, at: Place, tools: Tools) -> Groups:
    """Ask for the instances every `refresh_interval`."""
    finding = _Finding(config, Aws(config, "ec2", API_VERSION, tools))
    return refreshed(finding.find, config.endpoint or config.region or "EC2", config.refresh_interval, at, tools)


class _Finding:
    """Asks for instances, and once for the identities of the availability zones."""

    def __init__(self, config: Ec2SdConfig, aws: Aws) -> None:
        self._config, self._aws = config, aws
        self._zone_ids: Mapping[str, str] | None = None
        self._warned = False

    async def find(self) -> list[TargetGroup]:
        """Return the one group of all instances; raises PipelineError."""
        if self._zone_ids is None:
            try:
                self._zone_ids = zone_ids_of(await self._aws.ask("DescribeAvailabilityZones", {}))
            except PipelineError as error:  # An own permission: without it a label is missing, as in Prometheus.
                if not self._warned:
                    logger.warning("no identities of availability zones", extra={"reason": str(error)})
                self._warned = True
        targets = list[Mapping[str, str]]()
        params = {**_filters(self._config), "MaxResults": str(PAGE_INSTANCES)}
        for _ in range(MAX_PAGES):
            page = await self._aws.ask("DescribeInstances", params)
            targets += await asyncio.to_thread(self._targets, page)  # A page can have a thousand.
            token = page.findtext("nextToken")
            if not token:
                return [TargetGroup(self._aws.region, tuple(targets), {})]
            params["NextToken"] = token
        raise PermanentError(f"EC2 describes instances on more than {MAX_PAGES} pages")

    def _targets(self, page: Element) -> list[Mapping[str, str]]:
        return list(targets_of(page, self._aws.region, self._config.port, self._zone_ids or {}))


def zone_ids_of(answer: Element) -> dict[str, str]:
    """Return each availability zone's identity by its name, which means another zone in another account."""
    zones = answer.findall("availabilityZoneInfo/item")
    return {zone.findtext("zoneName", ""): zone.findtext("zoneId", "") for zone in zones}


def _filters(config: Ec2SdConfig) -> dict[str, str]:
    return dict(_numbered(config))


def _numbered(config: Ec2SdConfig) -> Iterator[tuple[str, str]]:
    for number, entry in enumerate(config.filters, 1):
        yield f"Filter.{number}.Name", entry.name
        for index, value in enumerate(entry.values, 1):
            yield f"Filter.{number}.Value.{index}", value
