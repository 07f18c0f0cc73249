"""LangGraph with SqliteSaver, durability 'sync': runs in an environment of its own."""

import json
import sqlite3
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

STEPS = 10


class State(TypedDict):
    n: int


def build(saver: SqliteSaver):
    graph = StateGraph(State)
    for i in range(STEPS):
        graph.add_node(f"s{i}", lambda state: {"n": state["n"] + 1})
    graph.add_edge(START, "s0")
    for i in range(STEPS - 1):
        graph.add_edge(f"s{i}", f"s{i + 1}")
    graph.add_edge(f"s{STEPS - 1}", END)
    return graph.compile(checkpointer=saver)


def main() -> None:
    db = sqlite3.connect(Path(sys.argv[1]) / "langgraph.db", check_same_thread=False)
    saver = SqliteSaver(db)
    saver.setup()
    db.execute("pragma synchronous=full")
    app = build(saver)
    count = 0

    def run(name: str) -> None:
        found = app.invoke({"n": 0}, {"configurable": {"thread_id": name}}, durability="sync")
        assert found["n"] == STEPS

    for i in range(20):
        run(f"warm{i}")
    times = []
    for i in range(150):
        began = time.perf_counter()
        run(f"one{i}")
        times.append((time.perf_counter() - began) / STEPS)
    stop = time.perf_counter() + 4
    lock = threading.Lock()

    def client(c: int) -> None:
        nonlocal count
        i = 0
        while time.perf_counter() < stop:
            run(f"c{c}-{i}")
            i += 1
            with lock:
                count += STEPS

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(c,)) for c in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    many = count / (time.perf_counter() - began)
    print(json.dumps({"version": version("langgraph"), "one": sorted(times)[75], "many": many}))


main()
