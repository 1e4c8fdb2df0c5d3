"""For a machine with a GPU: `python -m benchmarks.gpu.run`. Needs torch and this checkout, not PyAV."""
