"""Deployed networks: chosen students alone, and a small carry."""
