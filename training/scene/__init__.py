"""A small renderer of one street, in numpy and Pillow: what `training.synthetic_drive` films."""
