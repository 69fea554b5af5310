"""Tests of the dashboard, over the socket it really serves."""
