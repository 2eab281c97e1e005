"""From a body to an engine request: schemas, validation, prompts, sampling."""
