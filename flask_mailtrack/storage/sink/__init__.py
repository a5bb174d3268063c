"""Many machines: the ``relay`` ships the journal to the ``stream`` (Redis), a ``consumer`` hands on to the writer."""
