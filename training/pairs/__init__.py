"""What is trained on: photographs, degraded and coded, as pairs of crops."""
