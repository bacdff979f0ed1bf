"""The whole service on the GPUs of this machine: ``python -m bench.gpu_service``."""
