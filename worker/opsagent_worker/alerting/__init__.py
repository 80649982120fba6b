"""Telling people: the channels that alerts go to, and that each goes there once."""
