"""SQL: the tables, their migrations and the transactions in which everything that customers configure is kept."""
