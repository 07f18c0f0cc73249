"""What ``segue run`` shows after a night: the two models, and which is in use."""

from retraining.nights import Night
from rich.console import Console


def report(night: Night) -> None:
    console = Console(stderr=True)  # stdout is for the JSON result
    scores = night.scores
    console.print(f"Trips until {night.day}; {scores.trips:,} of the last week were kept back to compare on.")
    console.print(f"  model {night.version[:12]} is off by {scores.candidate:.2f} minutes, in the median")
    if scores.in_use is not None:
        console.print(f"  the model in use by {scores.in_use:.2f}")
    if night.deployed is None:
        console.print(f"[bold]Not deployed:[/bold] {scores.refusal}.")
    elif night.deployed.before is None:
        console.print("[bold]Deployed[/bold], the first one.")
    else:
        console.print(f"[bold]Deployed[/bold] in place of {night.deployed.before[:12]}.")
