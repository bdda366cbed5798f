"""What `berrygate doctor` looks at: what can keep a gateway from working, each with its fix."""
