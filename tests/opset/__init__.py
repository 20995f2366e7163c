"""Tests of the opset room."""
