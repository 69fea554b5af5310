"""What devices prove themselves with, and whether the embedded brokers know it already."""
