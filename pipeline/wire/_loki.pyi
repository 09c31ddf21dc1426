from pipeline.wire.scan_found import FoundLogs
from pipeline.wire.scan_plain import Known

def scan(data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> FoundLogs: ...
