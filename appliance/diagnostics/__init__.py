"""What the process tells of itself: health, memory, disk, latencies, and the snapshot that pages show.

Enters: figures that services keep anyway. Leaves: values for /readyz, /metrics and the System page. Never: a secret.
"""
