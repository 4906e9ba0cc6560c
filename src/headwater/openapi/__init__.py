"""The ApsaraVideo Live API 2016-11-01: the envelope of every request, and one function for each operation."""
