"""Where logs come from beside files: journals, syslog, push requests, containers, Kubernetes' events, Kafka, stdin."""
