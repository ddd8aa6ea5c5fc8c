"""Speed, side by side in one run: `python -m benchmarks` prints and writes RESULTS.md.

Nothing here is part of lenscape; `model` and `timing` need torch and numpy alone.
"""
