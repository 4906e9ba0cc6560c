"""What a domain is and may do: the rules of the domain product, and the services that API, console and CLI call."""
