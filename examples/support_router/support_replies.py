"""Replies from templates, filled with what was found. No language model is at work here: S3's agent has one."""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from support_records import Account, Article, ErrorLog, Invoice


class Desk(StrEnum):
    BILLING = "billing"
    TECHNICAL = "technical"
    HUMAN = "human"


@dataclass(frozen=True)
class Reply:
    desk: Desk
    text: str
    reason: str | None = None
    """Why a person has to take over."""


def billing(account: Account) -> Reply:
    return Reply(Desk.BILLING, f"Hello {account.name}, {_about_payments(account)}")


def technical(logs: list[ErrorLog], articles: list[Article]) -> Reply:
    seen = [f"Our logs show at {log.at}: {log.message} ({log.code})." for log in logs[:1]]
    advice = [f"{article.title}: {article.advice}" for article in articles]
    return Reply(Desk.TECHNICAL, "\n".join(["Hello, this may help.", *seen, *advice]))


def hand_off(reason: str) -> Reply:
    text = "Sorry, I cannot settle this by myself. A colleague has your message and will write to you."
    return Reply(Desk.HUMAN, text, reason)


def _about_payments(account: Account) -> str:
    if not account.invoices:
        return f"nothing has been charged so far: you are on the {account.plan} plan."
    last = account.invoices[0]
    if twice := _charged_twice(account.invoices):
        earlier, later = twice
        return (
            f"{later.number} repeats {earlier.number}: {_dollars(later)} were charged twice on {later.day}. "
            'Answer "refund" and you get the second payment back.'
        )
    match last.status:
        case "failed":
            return f"{last.number} ({_dollars(last)}) failed: {account.card} was declined. Please enter another card."
        case "refunded":
            return f"we have refunded {_dollars(last)} for {last.number}. Banks take up to five days to show it."
        case _:
            return f"{last.number} ({_dollars(last)}, {account.plan} plan) was paid on {last.day} by {account.card}."


def _charged_twice(newest_first: list[Invoice]) -> tuple[Invoice, Invoice] | None:
    paid = [invoice for invoice in newest_first if invoice.status == "paid"]
    for later, earlier in pairwise(paid):
        if (later.day, later.cents) == (earlier.day, earlier.cents):
            return earlier, later
    return None


def _dollars(invoice: Invoice) -> str:
    return f"${invoice.cents / 100:.2f}"
