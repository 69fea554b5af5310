"""Notices: what a receiver is told. Facts of alerts enter, texts and JSON leave; nothing here sends anything."""
