"""The operator's API: the register of claims as JSON over HTTP, for programs with a token."""
