"""Custom resources of the Prometheus operator as scrape jobs: ServiceMonitor, PodMonitor, Probe, ScrapeConfig.

Reading (`convert`) is pure: a resource and what its Secrets hold become the jobs that the operator would write.
Following resources and Secrets in a cluster (`follow`) is apart from it.
"""
