from hypothesis import settings

# How long a test takes says more of the machine than of what it tests.
settings.register_profile("cachegate", deadline=None)
settings.load_profile("cachegate")
