"""Benchmarks: what Pronoia costs, with its peers beside it in the same run. `./run bench` lists them."""
