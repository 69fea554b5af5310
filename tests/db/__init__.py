"""Tests of appliance.db."""
