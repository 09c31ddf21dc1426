from pipeline.wire.scan_found import Found
from pipeline.wire.scan_plain import Known

def scan(data: bytes | memoryview, label: bytes, value: bytes, known: Known) -> Found: ...
