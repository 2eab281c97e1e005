"""Why a request went where it went, and where other weights would have sent it: reads logs, sends nothing."""
