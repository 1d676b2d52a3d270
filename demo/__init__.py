"""The product on one machine, with real flights: what `make demo` and `make demo-failures` run."""
