"""From EC2's description of instances to targets. Source: prometheus, discovery/aws/ec2.go; Amazon EC2 API Reference,
Instance and InstanceNetworkInterface.
"""

from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree.ElementTree import Element

from agent.discovery.groups import ADDRESS
from agent.discovery.labels import host_port, label_part, separated

_META: Final = "__meta_ec2_"
_TEXTS: Final = {
    "instance_id": "instanceId",
    "private_ip": "privateIpAddress",
    "private_dns_name": "privateDnsName",
    "platform": "platform",
    "public_ip": "ipAddress",
    "ami": "imageId",
    "availability_zone": "placement/availabilityZone",
    "instance_state": "instanceState/name",
    "instance_type": "instanceType",
    "instance_lifecycle": "instanceLifecycle",
    "architecture": "architecture",
    "vpc_id": "vpcId",
}
"""Labels that are one text of the instance."""


def targets_of(page: Element, region: str, port: int, zone_ids: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Yield the targets of an answer to DescribeInstances; an instance without an address is none."""
    for reservation in page.findall("reservationSet/item"):
        owner = reservation.findtext("ownerId", "")
        for instance in reservation.findall("instancesSet/item"):
            shared = {"region": region, "owner_id": owner}
            target = _target(instance, shared, port, zone_ids)
            if target is not None:
                yield target


def _target(
    instance: Element, shared: Mapping[str, str], port: int, zone_ids: Mapping[str, str]
) -> Mapping[str, str] | None:
    labels = {**shared, **{name: instance.findtext(path, "") for name, path in _TEXTS.items()}}
    if labels["public_ip"]:
        labels["public_dns_name"] = instance.findtext("dnsName", "")
    labels["availability_zone_id"] = zone_ids.get(labels["availability_zone"], "")
    if labels["vpc_id"]:
        labels |= _network_labels(instance)
    address = labels["private_ip"] or labels.get("default_ipv6_address", "")
    if not address:
        return None
    for tag in instance.findall("tagSet/item"):
        labels[f"tag_{label_part(tag.findtext('key', ''))}"] = tag.findtext("value", "")
    meta = {_META + name: value for name, value in labels.items() if value}
    return {ADDRESS: host_port(address, port), **meta}


def _network_labels(instance: Element) -> dict[str, str]:
    """Return the labels of an instance in a VPC: its subnets, and the IPv6 addresses of its interfaces."""
    interfaces = [item for item in instance.findall("networkInterfaceSet/item") if item.findtext("subnetId")]
    subnets = dict.fromkeys(item.findtext("subnetId", "") for item in interfaces)
    labels = {"primary_subnet_id": instance.findtext("subnetId", ""), "subnet_id": separated(list(subnets))}
    every, primary = list[str](), dict[int, str]()
    for interface in interfaces:
        for item in interface.findall("ipv6AddressesSet/item"):
            address = item.findtext("ipv6Address", "")
            every.append(address)
            if item.findtext("isPrimaryIpv6") == "true":
                primary[_device_index(interface)] = address
    if primary:
        # A place for every device up to the last one, so that the index of one can be read off.
        places = [primary.get(index, "") for index in range(max(primary) + 1)]
        labels["primary_ipv6_addresses"] = separated(places)
    if every:
        labels["ipv6_addresses"] = separated(every)
        labels["default_ipv6_address"] = primary[min(primary)] if primary else every[0]
    return labels


def _device_index(interface: Element) -> int:
    text = interface.findtext("attachment/deviceIndex", "0")
    return min(int(text), 1023) if text.isascii() and text.isdigit() else 0
