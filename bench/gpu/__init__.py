"""The benches at real size on a GPU: ``python -m bench.gpu``."""
