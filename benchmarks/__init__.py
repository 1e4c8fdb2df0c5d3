"""`python -m benchmarks`: how fast vidsr and its peers are on this machine, in one table."""
