"""The commands, one module for each subject; cli.py puts them together."""
