# ruff: noqa: B018, F821 - names for vulture: `vulture gateway tests/vulture_allow/gateway.py` finds nothing else.
# mypy: ignore-errors
"""What nothing in gateway/ calls or reads by name, and who does."""

from __future__ import annotations

capture_signals  # of uvicorn's Server, which calls it
should_exit, force_exit  # uvicorn reads them
connection_made, data_received, connection_lost  # of asyncio's protocols, which the loop calls
formatter_class  # of an argparse parser, which reads it
clear_route_cache, string_value, number_value  # fields of protobuf messages

# Parameters of the EPP's plugins, decoded so that they are known; config.without_effect names them by path.
prefix_plugin_type, prefix_plugin_name
prefix_match_info_producer_name, in_flight_load_producer_name
request_timeout
