"""vLLM's scale-out routes: rendering, tokens in and tokens out, derendering."""
