"""A server's metrics as a scraper sees them."""

from __future__ import annotations

import json

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.server import Server


def metrics(server: Server) -> dict[str, float]:
    """All samples, as `name{label=value,…}`."""
    answer = httpx.get(f"http://127.0.0.1:{server.ports['metrics']}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def total(server: Server, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    wanted = {f'"{key}": "{value}"' for key, value in labels.items()}
    return sum(value for key, value in metrics(server).items() if key.split("{")[0] == name and all(w in key for w in wanted))
