"""What lies beside a result because its container cannot hold it: what is to be found in a source, writing, reading."""
