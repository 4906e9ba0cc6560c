"""`headwater demo`: the whole platform with a test picture, on one machine, to look at and to check."""
