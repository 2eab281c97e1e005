"""One request on the wire: target, connection, exchange, answer."""
