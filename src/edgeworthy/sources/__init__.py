"""Trained models from wherever they live; torch is imported here, one adapter a library."""
