"""What holds for all tests."""

from hypothesis import settings

# how long an example takes says something about the machine, and nothing about the code
settings.register_profile("everywhere", deadline=None)
settings.load_profile("everywhere")
