"""Alerts: lists, one alert with its timeline, and what people do with them, for pages and the API."""
