"""What Segue costs, beside the bare limits of the machine and beside its peers, in one run."""
