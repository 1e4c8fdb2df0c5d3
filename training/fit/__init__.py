"""Fitting a generator: presets, losses, the loop, checkpoints, many workers."""
