"""How fast the gateway is beside nginx and Varnish: `make bench`, docs/performance.md."""
