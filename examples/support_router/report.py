"""What ``segue run`` shows after a run."""

from support_replies import Reply


def report(reply: Reply) -> str:
    passed_on = f"\n\nHanded to a person: {reply.reason}" if reply.reason else ""
    return f"[{reply.desk}] {reply.text}{passed_on}"
