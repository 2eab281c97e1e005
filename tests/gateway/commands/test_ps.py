"""What `simfleet ps` makes of a stack's status."""

from __future__ import annotations

from gateway.commands.ps import prometheus_config


def test_prometheus_scrapes_every_rank_and_envoy_where_it_tells() -> None:
    report = {
        "pods": [
            {
                "name": "a",
                "namespace": "n",
                "metrics_urls": ["http://127.0.0.2:8000/metrics", "http://127.0.0.2:8001/metrics"],
            }
        ],
        "pickers": [{"name": "p", "namespace": "n", "metrics_url": "http://127.0.0.1:1/metrics"}],
        "gateways": [{"name": "g", "namespace": "n", "admin_url": "http://127.0.0.1:2"}],
    }
    jobs = {job["job_name"]: job for job in prometheus_config([report])["scrape_configs"]}
    assert jobs["vllm"]["static_configs"] == [
        {"targets": ["127.0.0.2:8000", "127.0.0.2:8001"], "labels": {"namespace": "n", "pod": "a"}}
    ]
    assert jobs["picker"]["static_configs"][0]["targets"] == ["127.0.0.1:1"]
    assert jobs["gateway"]["metrics_path"] == "/stats/prometheus"
