"""What the agent and the aggregator share as processes, not as parts of logboom.

options    command line options: types, and flag > environment variable > TOML file > default
logs       log lines as text or JSON, and a limit on how often one line repeats
memory     how much of it the process may have
token      bearer tokens from files
web        the shell of an HTTP server: errors as JSON, health, metrics, serving
"""
