"""Those that are measured: each module starts one of them on the core of the server, with the settings that its own
people would choose for this load. docs/performance.md lists them."""
