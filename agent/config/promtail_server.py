"""`server` of a promtail's file. Source: grafana/loki, clients/pkg/promtail/server; grafana/dskit, server."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from pipeline.http_config import NullableSection

_IGNORED: Final = """
log_level log_format log_source_ips_enabled log_source_ips_full log_source_ips_header log_source_ips_regex
log_request_headers log_request_at_info_level_enabled log_request_exclude_headers_list trace_request_headers
trace_request_exclude_headers_list http_listen_network http_listen_conn_limit grpc_listen_network
grpc_listen_address grpc_listen_port grpc_listen_conn_limit grpc_collect_max_streams_by_conn proxy_protocol_enabled
tls_cipher_suites tls_min_version register_instrumentation report_grpc_codes_in_instrumentation_label_enabled
graceful_shutdown_timeout http_server_read_timeout http_server_read_header_timeout http_server_write_timeout
http_server_idle_timeout http_log_closed_connections_without_response_enabled grpc_server_max_recv_msg_size
grpc_server_max_send_msg_size grpc_server_max_concurrent_streams grpc_server_max_connection_idle
grpc_server_max_connection_age grpc_server_max_connection_age_grace grpc_server_keepalive_time
grpc_server_keepalive_timeout grpc_server_min_time_between_pings grpc_server_ping_without_stream_allowed
grpc_server_num_workers grpc_server_stats_tracking_enabled grpc_server_recv_buffer_pools_enabled cluster_validation
create_new_traces throughput_latency_cutoff throughput_unit external_url health_check_target disable
profiling_enabled enable_runtime_reload
"""
IGNORED: Final = frozenset(_IGNORED.split())
"""What a promtail's server may say besides: how it logs (our own --log-level does), how its gRPC server works (there is
none), that it can be reloaded (the agent always can)."""

_TLS_OF_SERVER: Final = (
    "is not supported: the admin port speaks plain HTTP; bind it to loopback, or put a proxy before it"
)


def _refuse(reason: str) -> Any:
    def check(value: Any) -> Any:
        if value:
            raise ValueError(reason)
        return value

    return BeforeValidator(check)


class ServerConfig(NullableSection):
    """`server`: promtail's own HTTP server, whose place the admin port takes.

    Where the file is a promtail's own, `http_listen_address` and `http_listen_port` are the admin port's. All other
    keys that dskit's server has are read and of no effect, but for what would promise encryption.
    """

    http_listen_address: str = ""
    """Where the admin port listens, if the file is a promtail's own; everywhere where left out."""
    http_listen_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Its port, if the file is a promtail's own; 15691 where left out."""
    http_path_prefix: Annotated[str, _refuse("is not supported: the admin port has no prefix")] = ""
    """What all paths begin with: refused, since the admin port has no prefix."""
    http_tls_config: Annotated[dict[str, Any] | None, _refuse(_TLS_OF_SERVER)] = None
    """The server's certificate: refused, since the admin port speaks plain HTTP."""
    grpc_tls_config: Annotated[dict[str, Any] | None, _refuse(_TLS_OF_SERVER)] = None
    """The same for gRPC: refused."""
    ignored: dict[str, Any] = Field(default_factory=dict, exclude=True)
    """Read and of no effect: what else the section has."""

    @model_validator(mode="before")
    @classmethod
    def _set_aside(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "ignored" in value:
            return value
        ignored = {key: value[key] for key in value if key in IGNORED}
        return {**{key: value[key] for key in value if key not in ignored}, "ignored": ignored}
