"""Callbacks to customers' servers: kept in the database, sent in order, tried again, and never lost by a restart."""
