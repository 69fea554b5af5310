"""Tests of appliance.mqtt.aiomqtt."""
