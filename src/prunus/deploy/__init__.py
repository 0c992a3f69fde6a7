"""Deployment: export to ONNX, latency measured with care, and a record of the machine it was measured on."""
