"""The configuration: `routing.yaml` and the environment to checked settings. The only code that knows YAML."""
