"""A folder of videos on a Ray cluster."""
