"""Pipes and the client, without a stack."""
import asyncio
import time

from tests.chaos.net import Client, Link, Pipe


class Transport:
    def __init__(self):
        self.reading, self.aborted = True, False

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


class ReachesNobody(Link):
    async def _reach(self):
        pass


def on_loop(function):
    async def run():
        return function()
    return asyncio.run(run())


def linked():
    pipe = Pipe(1)
    link = ReachesNobody(pipe)
    link.near.connection_made(Transport())
    return pipe, link


def test_nothing_is_read_for_a_far_side_that_is_not_there_yet():
    """What is read then has nowhere to go, and would be lost."""
    def thawed():
        pipe, link = linked()
        pipe.freeze()
        pipe.thaw()
        early = link.near.transport.reading
        link.far.connection_made(Transport())
        return early, link.near.transport.reading
    assert on_loop(thawed) == (False, True)


def test_a_far_side_that_is_reached_after_the_end_is_ended_too():
    def late():
        _, link = linked()
        link.end()
        link.far.connection_made(Transport())
        return link.far.transport.aborted
    assert on_loop(late)


def test_a_call_is_sent_when_its_connection_stands():
    """To the process that is there then: one that died before has nothing to do with it."""
    told = []

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async def call():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        history = type("History", (), {"add": lambda self, k, t, **fields: told.append((t, fields["http"]))})()
        client = Client(history, 0, server.sockets[0].getsockname()[1], "token")
        connect = client._connect

        async def late():
            await asyncio.sleep(0.2)
            return await connect()
        client._connect = late
        before = time.monotonic_ns()
        await client.call("status_task", {})
        client.cut()
        server.close()
        return before
    before = asyncio.run(call())
    ((sent, http),) = told
    assert http == 200 and sent - before >= 0.19e9
