"""What Segue is tested with, for those who extend it.

``stores``  the promises of a store, as a class of tests to subclass
"""
