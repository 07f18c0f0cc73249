"""The parts of the retraining example: trips, models, and what is deployed. None of them knows Segue."""
