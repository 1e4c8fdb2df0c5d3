"""A small renderer of one street, in numpy and Pillow: what `drive.py` films."""
