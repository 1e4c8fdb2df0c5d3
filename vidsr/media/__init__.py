"""Video in, video out: the only code of vidsr that imports av."""
