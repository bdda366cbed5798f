"""`berrygate demo`: a gateway with simulated devices that really speak their protocols.

One file for each protocol; parts.py lists them.
"""
