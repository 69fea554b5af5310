"""The state of the process: health, memory, disk, latencies, and the snapshot that pages show.

Enters: values that services keep anyway. Leaves: values for /readyz, /metrics and the System page. Never: a secret.
"""
