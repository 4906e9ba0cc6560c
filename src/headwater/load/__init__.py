"""`headwater load`: many viewers or publishers at once, which check what they receive and measure how long it takes."""
