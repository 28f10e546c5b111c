"""How fast Stoker is, beside what the machine allows. Run with `make bench`; what the numbers mean is in README.md."""
