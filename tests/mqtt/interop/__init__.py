"""The client with another broker than Mosquitto: ejabberd, written by others in another language."""
