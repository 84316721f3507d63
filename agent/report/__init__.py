"""What the agent says of itself: to the aggregator, and to who asks it.

forecast   in how many seconds unread bytes are rotated away
accounts   each container as a whole: bytes, lag, forecast
status     what the agent is doing, over HTTP
heartbeat  tells the aggregator that it lives, and what the node has
"""
