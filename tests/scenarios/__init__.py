"""Bodies of tests that several files share, or that run in processes of their own."""
