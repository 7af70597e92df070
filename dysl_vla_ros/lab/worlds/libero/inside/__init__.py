"""What runs in the benchmark's own environment (Python 3.10 or 3.11, numpy 1.26, MuJoCo 2.3)."""
