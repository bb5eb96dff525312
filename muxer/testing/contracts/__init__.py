"""The contracts, one file a subject; `muxer.testing` names those to inherit."""
