"""Loki's query API, for Grafana and logcli: https://grafana.com/docs/loki/latest/reference/loki-http-api/.

asked      the parameters, with Loki's ways of writing times and durations
shapes     the JSON of answers
handlers   the routes
streaming  the WebSocket that follows
described  how the routes are described
errors     errors as Loki says them: plain text; the token is asked for before, and refused in JSON
"""
