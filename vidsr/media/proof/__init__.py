"""The proof that a result is its source, only larger: it reads both files and knows nothing of the run."""
