"""The ingest node: pushes, from their admission to their end."""
