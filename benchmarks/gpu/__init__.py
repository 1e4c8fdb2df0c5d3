"""For a machine with a GPU: `python -m benchmarks.gpu.run`. docs/performance.md names the packages it needs."""
