"""From engine outputs to bodies and streams of each API."""
