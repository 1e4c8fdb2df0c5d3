"""The Ray job graph: the only code of vidsr that imports ray."""
