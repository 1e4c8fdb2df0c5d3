"""Fits what vidsr.model runs."""
