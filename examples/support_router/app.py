"""The support router: what does a customer want, what do we know about it, and who answers?

intent → billing lookup → billing reply | error logs + knowledge base → technical reply | a person
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import support_replies
from support_classifier import Classifier, Guess, Intent, train
from support_records import Account, Article, ErrorLog, Records
from support_replies import Reply

from segue import StepFailed, flow, gather, resource, step, use


@dataclass(frozen=True)
class Message:
    email: str
    text: str


@flow(max_queued=100)  # a spike is refused at the door: whoever is let in waits no longer than ever
async def support(message: Message) -> Reply:
    try:
        guess = await classify(message.text)
        match guess.intent if guess.sure else Intent.OTHER:
            case Intent.BILLING:
                if account := await billing_lookup(message.email):
                    return await billing_reply(account)
                return await hand_off("no customer has this address")
            case Intent.TECHNICAL:
                logs, articles = await gather(error_logs(message), knowledge_base(message.text))
                if articles:
                    return await technical_reply(logs, articles)
                return await hand_off("the knowledge base has no answer")
            case _:
                return await hand_off(f"classified as {guess.intent}, {guess.confidence:.0%} sure")
    except StepFailed as failure:
        return await hand_off(str(failure))


# What the steps share: made once for each worker, in a thread, so that the runs it already serves go on meanwhile.


@resource(scope="worker")
async def classifier() -> AsyncGenerator[Classifier, None]:
    yield await asyncio.to_thread(train)


@resource(scope="worker")
async def records() -> AsyncGenerator[Records, None]:
    with TemporaryDirectory(prefix="support-router-") as folder:
        yield await asyncio.to_thread(Records.build, Path(folder))


# Steps are ordinary functions and run in threads: a slow one delays nobody else. What these do takes milliseconds, so
# one that has not answered after a second or two is not going to.


@step(timeout="2s", retry=1)
def classify(text: str, model: Classifier = use(classifier)) -> Guess:
    return model.classify(text)


@step(timeout="1s", retry=2)
def billing_lookup(email: str, known: Records = use(records)) -> Account | None:
    return known.account(email)


@step(timeout="1s", retry=2)
def error_logs(message: Message, known: Records = use(records)) -> list[ErrorLog]:
    return known.error_logs(message.email, message.text)


@step(timeout="1s", retry=2)
def knowledge_base(text: str, known: Records = use(records)) -> list[Article]:
    return known.articles(text)


# Found by `segue chaos`: whoever writes the reply may fail too, and then nobody would answer.


@step(retry=2)
def billing_reply(account: Account) -> Reply:
    return support_replies.billing(account)


@step(retry=2)
def technical_reply(logs: list[ErrorLog], articles: list[Article]) -> Reply:
    return support_replies.technical(logs, articles)


@step(retry=2, degraded=support_replies.hand_off("the router failed: read the message, and the run's record"))
def hand_off(reason: str) -> Reply:
    return support_replies.hand_off(reason)
