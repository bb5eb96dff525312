"""Routing quality on prompts whose answers by several models are known: curves of quality over cost, and intervals."""
