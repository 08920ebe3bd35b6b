"""The benchmarks' scores as metrics of the library `evaluate`, loadable by path without a hub."""
