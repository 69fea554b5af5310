"""Tests of appliance.mqtt."""
