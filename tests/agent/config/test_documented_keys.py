"""Every key that Prometheus 3.15 documents for scraping is a key here, or is refused with a reason of its own."""

import pytest
from pydantic import BaseModel

from agent.config import GlobalConfig, ScrapeConfig
from agent.config.store import StoreGlobals
from agent.config.unsupported import REASONS
from pipeline.http_config import Authorization, BasicAuth, Header, HttpClientConfig, OAuth2, TlsConfig

# Prometheus, docs/configuration/configuration.md.
SCRAPING = """
job_name scrape_interval scrape_timeout scrape_protocols fallback_scrape_protocol metrics_path honor_labels
honor_timestamps track_timestamps_staleness scheme params enable_compression scrape_failure_log_file static_configs
aws_sd_configs azure_sd_configs consul_sd_configs digitalocean_sd_configs docker_sd_configs dockerswarm_sd_configs
dns_sd_configs ec2_sd_configs eureka_sd_configs file_sd_configs gce_sd_configs hetzner_sd_configs http_sd_configs
ionos_sd_configs kubernetes_sd_configs kuma_sd_configs lightsail_sd_configs linode_sd_configs marathon_sd_configs
nerve_sd_configs nomad_sd_configs oci_sd_configs openstack_sd_configs outscale_sd_configs ovhcloud_sd_configs
puppetdb_sd_configs scaleway_sd_configs serverset_sd_configs stackit_sd_configs triton_sd_configs uyuni_sd_configs
vultr_sd_configs relabel_configs metric_relabel_configs body_size_limit sample_limit label_limit
label_name_length_limit label_value_length_limit target_limit keep_dropped_targets metric_name_validation_scheme
metric_name_escaping_scheme native_histogram_bucket_limit native_histogram_min_bucket_factor scrape_native_histograms
convert_classic_histograms_to_nhcb always_scrape_classic_histograms extra_scrape_metrics
"""
GLOBAL = """
scrape_interval scrape_timeout scrape_protocols external_labels scrape_failure_log_file body_size_limit sample_limit
label_limit label_name_length_limit label_value_length_limit target_limit keep_dropped_targets
metric_name_validation_scheme scrape_native_histograms convert_classic_histograms_to_nhcb
always_scrape_classic_histograms extra_scrape_metrics evaluation_interval rule_query_offset query_log_file
"""
HTTP = """
basic_auth authorization oauth2 follow_redirects enable_http2 tls_config proxy_url no_proxy proxy_from_environment
proxy_connect_header http_headers
"""
OAUTH2 = """
client_id grant_type client_secret client_secret_file client_certificate_key client_certificate_key_file
client_certificate_key_id signature_algorithm iss audience claims scopes token_url endpoint_params tls_config proxy_url
no_proxy proxy_from_environment proxy_connect_header
"""


@pytest.mark.parametrize(
    ("models", "keys"),
    [
        ([ScrapeConfig], SCRAPING + HTTP),
        ([GlobalConfig, StoreGlobals], GLOBAL),
        ([HttpClientConfig], HTTP),
        ([OAuth2], OAUTH2),
        (
            [TlsConfig],
            "ca ca_file cert cert_file key key_file server_name insecure_skip_verify min_version max_version",
        ),
        ([BasicAuth], "username username_file password password_file"),
        ([Authorization], "type credentials credentials_file"),
        ([Header], "values secrets files"),
    ],
    ids=["scrape_config", "global", "http_config", "oauth2", "tls_config", "basic_auth", "authorization", "header"],
)
def test_no_documented_key_is_unknown(models: list[type[BaseModel]], keys: str) -> None:
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    assert [key for key in keys.split() if key not in known and key not in REASONS] == []
