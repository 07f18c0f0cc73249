"""What every store promises of rejects, beside all else: tests to subclass like ``StorePromises``."""

from segue.stores.base import KEPT, Reject, Store
from segue.testing.stores import StorePromises


class RejectPromises(StorePromises):
    """``StorePromises``, and one test for each promise about what could not be taken."""

    @staticmethod
    def bad(body: bytes = b"{", once: str | None = None, **fields: str) -> Reject:
        """Something to reject."""
        return Reject(0, "webhook /a", 0.0, "it is not JSON", "flow", body, len(body), once=once)._replace(**fields)

    def test_a_reject_is_kept_until_it_is_dealt_with(self) -> None:
        async def scene(store: Store) -> None:
            first, second = await store.reject(self.bad(b"\xff\x00")), await store.reject(self.bad())
            found = await store.rejects(10)
            assert [one.number for one in found] == [second, first]
            assert found[1] == self.bad(b"\xff\x00")._replace(number=first, at=self.clock())
            assert [one.number for one in await store.rejects(1)] == [second]
            assert await store.deal(first, "discarded")
            assert not await store.deal(first, "again")
            assert not await store.deal(second + 1, "what")
            assert [one.number for one in await store.rejects(10)] == [second]
            assert [one.number for one in await store.rejects(10, open=False)] == [second, first]
            [dealt] = await store.rejects(10, first)
            assert dealt.dealt == "discarded"
            assert await store.rejects(10, second + 1) == []

        self.play(scene)

    def test_a_reject_is_written_once_by_its_name(self) -> None:
        async def scene(store: Store) -> None:
            first = await store.reject(self.bad(once="a"))
            assert await store.reject(self.bad(b"other", once="a")) == first
            assert await store.reject(self.bad(once="b")) != first
            assert await store.deal(first, "done")
            assert await store.reject(self.bad(once="a")) == first
            assert len(await store.rejects(10)) == 1
            assert len({await store.reject(self.bad()) for _ in range(3)}) == 3

        self.play(scene)

    def test_of_a_long_body_the_beginning_is_kept(self) -> None:
        async def scene(store: Store) -> None:
            await store.reject(self.bad(b"x" * (KEPT + 1)))
            [one] = await store.rejects(1)
            assert (one.body, one.size) == (b"x" * KEPT, KEPT + 1)

        self.play(scene)
