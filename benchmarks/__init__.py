"""What the server costs: CPU and memory for viewers and publishers, beside other servers in the same run."""
