"""The models of CrediFlow, and what stands in for its applicants. Nothing in here knows of Segue's flows."""
