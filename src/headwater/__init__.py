"""Headwater: a live-streaming platform that you run yourself."""
