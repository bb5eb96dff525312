"""What a change of routing.yaml would have done to requests that were recorded."""
