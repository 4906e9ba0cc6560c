"""What processes share: keys with leases, watches, events and jobs."""
