"""Measuring what models and the command make of pictures and video."""
