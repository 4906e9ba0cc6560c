"""Recording: copies a live stream onto disk, in pieces that survive a crash, and makes slices and files of them."""
