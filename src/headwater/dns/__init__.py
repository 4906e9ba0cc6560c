"""The authoritative DNS server of the operator's zone: answers each domain's CNAME target with the nearest healthy nodes."""
