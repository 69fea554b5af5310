"""Sites, where devices are installed: pages and API."""
