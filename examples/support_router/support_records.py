"""What the company knows: customers and invoices, error logs and a knowledge base, in one SQLite file.

Each read opens the file anew: that takes a fraction of a millisecond, and no two threads share a connection.
"""

import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"
RELEVANT = -5.0
"""bm25() is negative, lower is better. Articles that share one common word with the message stay above this."""
EVERYWHERE = {"a", "and", "do", "does", "for", "i", "in", "is", "it", "my", "not", "of", "on", "the", "to", "you"}


@dataclass(frozen=True)
class Invoice:
    number: str
    day: str
    cents: int
    status: str


@dataclass(frozen=True)
class Account:
    name: str
    plan: str
    card: str
    invoices: list[Invoice]
    """Newest first."""


@dataclass(frozen=True)
class ErrorLog:
    at: str
    code: str
    message: str


@dataclass(frozen=True)
class Article:
    title: str
    advice: str


class Records:
    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def build(cls, folder: Path) -> "Records":
        """A fresh database, from the SQL files that ship with the example."""
        file = folder / "support.db"
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA synchronous = OFF")  # made anew at each start: a power cut has nothing to take
            for script in ("billing.sql", "support.sql"):
                database.executescript((DATA / script).read_text(encoding="utf-8"))
        return cls(file)

    def account(self, email: str) -> Account | None:
        file = self._file
        if os.environ.get("SUPPORT_BILLING_DOWN"):  # the README's way to see an outage: SQLite really fails
            file = file.with_name("missing.db")
        found = _rows(file, "SELECT name, plan, card FROM accounts WHERE email = ?", email)
        if not found:
            return None
        invoices = "SELECT number, day, cents, status FROM invoices WHERE email = ? ORDER BY day DESC, number DESC"
        name, plan, card = found[0]
        return Account(name, plan, card, [Invoice(*row) for row in _rows(file, invoices, email)])

    def error_logs(self, email: str, text: str) -> list[ErrorLog]:
        query = "SELECT at, code, message FROM error_logs WHERE error_logs MATCH ? AND email = ? ORDER BY rank LIMIT 3"
        return [ErrorLog(*row) for row in _rows(self._file, query, _any_word_of(text), email)]

    def articles(self, text: str) -> list[Article]:
        # A word in the title counts four times as much as one in the advice.
        score = "bm25(articles, 4, 1)"
        query = f"SELECT title, advice FROM articles WHERE articles MATCH ? AND {score} < ? ORDER BY {score} LIMIT 2"
        return [Article(*row) for row in _rows(self._file, query, _any_word_of(text), RELEVANT)]


def _rows(file: Path, query: str, *values: str | float) -> list[tuple]:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(query, values).fetchall()


def _any_word_of(text: str) -> str:
    """An FTS5 query. Words are quoted: a customer's "NOT" or "*" is text, not an operator."""
    words = [word for word in re.findall(r"\w+", text.lower()) if word not in EVERYWHERE]
    return " OR ".join(f'"{word}"' for word in words) or '""'
