"""A source and its result side by side, for people to look at: `vidsr compare`."""
