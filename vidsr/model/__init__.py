"""The generator and its inference: the only code of vidsr that computes with torch."""
