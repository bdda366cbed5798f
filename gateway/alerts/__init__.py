"""Alerts: rules on what is seen, who is told of it, and that it arrives."""
