"""Question files of benchmarks, and of users → Examples; their pictures are found by name."""
