import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from agent.config.ec2 import Ec2SdConfig
from agent.discovery import Place, TargetGroup
from agent.discovery import ec2 as ec2_discovery
from agent.discovery.ec2 import ec2_groups
from agent.discovery.ec2_targets import targets_of
from tests.agent.discovery.tools import addresses, bench
from tests.servers.moto import KEYS, REGION, Moto

AT = Place("job", "ec2_sd_configs", 0)
OWN = {"access_key": KEYS["aws_access_key_id"], "secret_key": KEYS["aws_secret_access_key"], "region": REGION}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def moto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Moto]:
    """AWS for all tests here: two instances in a subnet, one of them tagged."""
    async with Moto(tmp_path_factory.mktemp("moto")) as server:
        await asyncio.to_thread(make_instances, server)
        yield server


def make_instances(moto: Moto) -> None:
    client = moto.client("ec2")
    (image, *_) = client.describe_images(Owners=["amazon"])["Images"]
    vpc = client.create_vpc(CidrBlock="10.5.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="10.5.1.0/24", AvailabilityZone="eu-west-1b")["Subnet"]
    for number, role in enumerate(("web", "db"), 10):
        client.run_instances(
            ImageId=image["ImageId"],
            MinCount=1,
            MaxCount=1,
            SubnetId=subnet["SubnetId"],
            PrivateIpAddress=f"10.5.1.{number}",
            InstanceType="t3.micro",
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "the-role", "Value": role}]}],
        )


async def found(moto: Moto, **config: Any) -> list[TargetGroup]:
    async with bench() as made:
        section = Ec2SdConfig.model_validate({**OWN, "endpoint": moto.url, **config})
        groups = await anext(ec2_groups(section, AT, made.tools))
        assert not made.tools.failures
        return groups


@pytest.mark.asyncio(loop_scope="module")
async def test_instances_have_their_labels(moto: Moto) -> None:
    (group,) = await found(moto, port=9100, filters=[{"name": "tag:the-role", "values": ["web", "none"]}])
    (target,) = group.targets
    client = moto.client("ec2")
    (reservation,) = client.describe_instances(Filters=[{"Name": "tag:the-role", "Values": ["web"]}])["Reservations"]
    (instance,) = reservation["Instances"]
    zones = {zone["ZoneName"]: zone["ZoneId"] for zone in client.describe_availability_zones()["AvailabilityZones"]}
    expected = {
        "__address__": "10.5.1.10:9100",
        "__meta_ec2_ami": instance["ImageId"],
        "__meta_ec2_architecture": instance["Architecture"],
        "__meta_ec2_availability_zone": "eu-west-1b",
        "__meta_ec2_availability_zone_id": zones["eu-west-1b"],
        "__meta_ec2_instance_id": instance["InstanceId"],
        "__meta_ec2_instance_state": "running",
        "__meta_ec2_instance_type": "t3.micro",
        "__meta_ec2_owner_id": reservation["OwnerId"],
        "__meta_ec2_primary_subnet_id": instance["SubnetId"],
        "__meta_ec2_private_dns_name": instance["PrivateDnsName"],
        "__meta_ec2_private_ip": "10.5.1.10",
        "__meta_ec2_region": REGION,
        "__meta_ec2_subnet_id": f",{instance['SubnetId']},",
        "__meta_ec2_tag_the_role": "web",
        "__meta_ec2_vpc_id": instance["VpcId"],
    }
    optional = {
        "__meta_ec2_platform": instance.get("Platform", ""),
        "__meta_ec2_public_ip": instance.get("PublicIpAddress", ""),
        "__meta_ec2_public_dns_name": instance.get("PublicDnsName", ""),
        "__meta_ec2_instance_lifecycle": instance.get("InstanceLifecycle", ""),
    }
    assert dict(target) == expected | {name: value for name, value in optional.items() if value}


@pytest.mark.asyncio(loop_scope="module")
async def test_answers_in_pages_are_put_together(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_discovery, "PAGE_INSTANCES", 1)
    assert sorted(addresses(await found(moto))) == ["10.5.1.10:80", "10.5.1.11:80"]


@pytest.mark.asyncio(loop_scope="module")
async def test_credentials_and_region_come_from_the_sdks_own_places(
    moto: Moto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(f"[profile other]\nregion = {REGION}\n")
    keys = "\n".join(f"{name} = {value}" for name, value in KEYS.items())
    (tmp_path / "credentials").write_text(f"[other]\n{keys}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", moto.url)
    given = {"access_key": "", "secret_key": "", "region": "", "endpoint": ""}
    (group,) = await found(moto, **given, profile="other")
    assert (group.source, len(group.targets)) == (REGION, 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto.url)
    role = "arn:aws:iam::123456789012:role/reader"
    (group,) = await found(moto, **given, profile="other", role_arn=role, external_id="outside")
    assert len(group.targets) == 2


async def failure(**config: Any) -> str:
    async with bench() as made:
        section = Ec2SdConfig.model_validate({**OWN, **config})
        assert await anext(ec2_groups(section, AT, made.tools)) == []
        (reason,) = made.tools.failures.values()
        return reason


def make_reader(moto: Moto) -> dict[str, str]:
    """Make a user who may describe what is there; return the keys."""
    client = moto.client("iam")
    client.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    client.put_user_policy(UserName="reader", PolicyName="describe", PolicyDocument=policy)
    key = client.create_access_key(UserName="reader")["AccessKey"]
    return {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}


@pytest.mark.asyncio(loop_scope="module")
async def test_signatures_and_permissions_are_those_of_the_keys(tmp_path: Path) -> None:
    async with Moto(tmp_path) as strict:
        await asyncio.to_thread(make_instances, strict)
        keys = await asyncio.to_thread(make_reader, strict)
        await strict.check_keys()
        (group,) = await found(strict, **keys)
        assert sorted(addresses([group])) == ["10.5.1.10:80", "10.5.1.11:80"]
        for wrong in ({"access_key": keys["access_key"], "secret_key": "another"}, {}):
            refused = await failure(endpoint=strict.url, **wrong)
            assert refused.startswith("ec2: DescribeInstances: AuthFailure: AWS was not able to validate")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_that_is_none_of_aws_is_a_failure(moto: Moto) -> None:
    filters = [{"name": "nonsense", "values": ["1"]}]  # Moto's server does not know it, and breaks.
    assert "answered 500" in await failure(endpoint=moto.url, filters=filters)


async def test_pages_without_an_end_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ec2_discovery, "MAX_PAGES", 3)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<DescribeInstancesResponse><nextToken>on</nextToken></DescribeInstancesResponse>")

    app = web.Application()
    app.router.add_post("/", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        assert await failure(endpoint=str(server.make_url("/"))) == "EC2 describes instances on more than 3 pages"


async def test_what_keeps_it_from_asking_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "Cannot connect" in await failure(endpoint="http://127.0.0.1:1")
    assert "no AWS credentials" in await failure(access_key="", endpoint="http://127.0.0.1:1")
    assert "(missing) could not be found" in await failure(profile="missing")
    assert "could not determine AWS region" in await failure(region="")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"filters": [{"name": "a", "values": []}]}, "filter values cannot be empty"),
        ({"basic_auth": {"username": "u"}}, "basic_auth is not supported: requests to AWS are signed"),
        ({"endpoint": "ec2.example"}, "is not a URL"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Ec2SdConfig.model_validate(given)


def instance(*interfaces: str, private: str = "") -> str:
    """An instance in a VPC as EC2 describes it, of the parts that addresses come from."""
    return (
        "<r><reservationSet><item><instancesSet><item><instanceId>i</instanceId><vpcId>v</vpcId><subnetId>s</subnetId>"
        f"{private}<networkInterfaceSet>{''.join(interfaces)}</networkInterfaceSet>"
        "</item></instancesSet></item></reservationSet></r>"
    )


def interface(device: int, *addresses: tuple[str, str]) -> str:
    items = "".join(
        f"<item><ipv6Address>{address}</ipv6Address><isPrimaryIpv6>{primary}</isPrimaryIpv6></item>"
        for address, primary in addresses
    )
    index = f"<attachment><deviceIndex>{device}</deviceIndex></attachment>"
    return f"<item><subnetId>s{device}</subnetId>{index}<ipv6AddressesSet>{items}</ipv6AddressesSet></item>"


def test_ipv6_addresses_are_listed_and_the_first_primary_one_is_the_address() -> None:
    interfaces = interface(0, ("fd00::1", "false")), interface(2, ("fd00::2", "true"), ("fd00::3", "false"))
    (target,) = targets_of(fromstring(instance(*interfaces)), "r", 80, {})
    assert target["__address__"] == "[fd00::2]:80"
    assert target["__meta_ec2_default_ipv6_address"] == "fd00::2"
    assert target["__meta_ec2_primary_ipv6_addresses"] == ",,,fd00::2,"
    assert target["__meta_ec2_ipv6_addresses"] == ",fd00::1,fd00::2,fd00::3,"
    assert target["__meta_ec2_subnet_id"] == ",s0,s2,"
    private = "<privateIpAddress>10.0.0.1</privateIpAddress>"
    (target,) = targets_of(fromstring(instance(*interfaces, private=private)), "r", 80, {})
    assert target["__address__"] == "10.0.0.1:80"


def test_an_instance_without_an_address_is_no_target() -> None:
    assert list(targets_of(fromstring(instance(interface(0))), "r", 80, {})) == []
