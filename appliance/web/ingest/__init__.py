"""HTTP ingest: messages and claims of devices over HTTP."""
