"""Settings, as one set of pydantic models: the command line, a YAML file, a schedule and a web form say the same."""
