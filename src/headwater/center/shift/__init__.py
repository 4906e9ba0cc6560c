"""Time shift: cuts live streams into slices that are kept, and lists them again as they were."""
