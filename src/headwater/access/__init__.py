"""Who may push or play: names, signing, policies and bans, and the one verdict made of them."""
