"""Paired benchmarks: our server, vLLM's own and a bare engine loop, in turn on one machine."""
