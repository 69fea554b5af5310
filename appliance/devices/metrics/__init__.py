"""The metrics of a tenant: learned when they are first seen, named by people."""
