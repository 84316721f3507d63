"""What the agent and the aggregator agree on.

batch      one POST's worth of records, as columns, and the rules every batch obeys
codec      a batch to bytes and back; the format, its version, its hard limits
answers    the JSON the aggregator answers an agent with
heartbeat  what an agent says of itself every few seconds
errors     the ways a batch can be wrong, each with the name of the broken rule
"""
