"""The console's pages, by subject; each function answers one visit."""
