"""The mathematics, in pure torch: no file, no model, no screen."""
