"""Web pages: today the player page."""
