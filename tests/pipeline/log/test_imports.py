import subprocess
import sys


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_an_embedded_log_needs_no_kafka_client() -> None:
    done = run("import sys, pipeline.log.config, pipeline.log.sqlite; print('aiokafka' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_a_missing_kafka_client_names_the_extra_that_brings_it() -> None:
    # None in sys.modules is Python's own way to say that a module is not there.
    done = run(
        "import sys; sys.modules['aiokafka'] = None\n"
        "from prometheus_client import CollectorRegistry\n"
        "from pipeline.telemetry import LogMetrics\n"
        "from pipeline.log.config import LogConfig\n"
        "from pipeline.log.open import open_log\n"
        "open_log(LogConfig(kafka={'brokers': ['h:1']}), LogMetrics(CollectorRegistry()))"
    )
    assert "PermanentError" in done.stderr
    assert "pip install 'pronoia[gateway]'" in done.stderr
