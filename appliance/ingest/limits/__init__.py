"""Rate limits: a token bucket for each device, credit after an outage of ours, and the janitor of idle buckets."""
