"""The JSON API and HTTP ingest. Errors are ``application/problem+json`` (RFC 9457) with the reason code."""
