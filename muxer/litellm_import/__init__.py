"""LiteLLM's config.yaml to a routing.yaml, with a word on every key of it; `convert.py` is the way in."""
