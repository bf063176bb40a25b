"""A typed Python client for Inferneo; this release holds the package alone."""
