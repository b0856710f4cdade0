"""The scan teaches the network: what is sharp within its slices shows how to sharpen across them."""
