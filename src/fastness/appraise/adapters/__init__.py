"""Policies in CEL and Rego over the same claims, each as one condition of a rule."""
