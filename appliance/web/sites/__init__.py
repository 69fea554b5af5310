"""Sites: where devices stand, for pages and the API."""
