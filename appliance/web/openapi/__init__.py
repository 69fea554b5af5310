"""The JSON API: declarations of routes, the OpenAPI document, request validation, and the form of errors."""
