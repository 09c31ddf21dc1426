"""Keys of Prometheus' file that are not supported, refused by name with their reason instead of as unknown."""

import re
from dataclasses import replace

from pipeline.config import Mistake

DISCOVERIES = (
    *("azure", "digitalocean", "dockerswarm", "aws", "ecs", "elasticache", "eureka", "gce", "hetzner", "ionos", "kuma"),
    *("lightsail", "linode", "marathon", "msk", "nerve", "nomad", "oci", "openstack", "outscale", "ovhcloud"),
    *("puppetdb", "rds", "scaleway", "serverset", "stackit", "triton", "uyuni", "vultr"),
)
"""The kinds of discovery that Prometheus 3 has and we have not: what asks for them can write a file, or answer HTTP."""

_NO_DISCOVERY = "is not supported yet: bring these targets by file_sd_configs or http_sd_configs"
_NO_SECRETS = "is not supported: there is no secret manager"
_ONE_GRANT = "is not supported: only the client_credentials grant is"

REASONS = {
    **{f"{kind}_sd_configs": _NO_DISCOVERY for kind in DISCOVERIES},
    "aws_sd_configs": "is not supported yet: ec2_sd_configs finds what it finds in the role ec2",
    "consulagent_sd_configs": "is not supported: consul_sd_configs finds the same services by the agent's catalog",
    "windows_events": "is not supported: the agent runs on Linux",
    "gcplog": "is not supported: let Pub/Sub push to a Loki push endpoint, or bring it by Kafka",
    "azure_event_hubs": "is not supported: event hubs speak Kafka's protocol, which `kafka` reads",
    "gelf": "is not supported: send syslog, or push to a Loki push endpoint",
    "cloudflare": "is not supported: Logpush can bring these logs to a Loki push endpoint",
    "heroku_drain": "is not supported: send Heroku's drain to `syslog` over TLS",
    "receive": "is not supported yet",
    "sigv4": "is not supported",
    "azuread": "is not supported",
    "google_iam": "is not supported",
    "ca_ref": _NO_SECRETS,
    "cert_ref": _NO_SECRETS,
    "key_ref": _NO_SECRETS,
    "username_ref": _NO_SECRETS,
    "password_ref": _NO_SECRETS,
    "credentials_ref": _NO_SECRETS,
    "client_secret_ref": _NO_SECRETS,
    "client_certificate_key_id": _ONE_GRANT,
    "client_certificate_key": _ONE_GRANT,
    "client_certificate_key_file": _ONE_GRANT,
    "client_certificate_key_ref": _ONE_GRANT,
    "signature_algorithm": _ONE_GRANT,
    "iss": _ONE_GRANT,
    "audience": _ONE_GRANT,
    "claims": _ONE_GRANT,
}


def reason_for(mistake: Mistake) -> Mistake:
    """Return the mistake with a better reason, if its key is one that we know and do not support."""
    name = re.sub(r"\[\d+\]$", "", mistake.key.rpartition(".")[2])
    if mistake.reason == "unknown key" and name in REASONS:
        return replace(mistake, reason=REASONS[name])
    return mistake
