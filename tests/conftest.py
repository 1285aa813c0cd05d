import os
import signal

# Whoever is started in the background of a shell ignores what a terminal sends, and so would all that is started here.
# Not in the package itself: workers that tests start import that, and ignore these signals on purpose.
for _sent, _obeyed in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_sent) is signal.SIG_IGN:
        signal.signal(_sent, _obeyed)

# A `make` that a test types is not one of the `make test` that runs it.
for _told in ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(_told, None)
