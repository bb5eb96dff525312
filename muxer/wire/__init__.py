"""Public codecs, one file per format: JSON of a vendor on one side, the values of `muxer.types` on the other."""
