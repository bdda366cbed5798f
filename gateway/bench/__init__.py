"""What this machine does with Berrygate: a bounded run of the real gateway, with a publisher, the
embedded broker and a sink beside it, each a process of its own. See `run`."""
