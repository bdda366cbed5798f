"""Drivers as those of the page, each with one mistake that authors make, and what they must hear.

A mistake is (what is replaced in the driver, by what); of registration, in pyproject.toml.
"""

from typing import NamedTuple


class Mistake(NamedTuple):
    """See the module. said: part of what the author hears."""

    name: str
    old: str
    new: str
    said: str


_LISTEN = (
    "    async def listen(self) -> AsyncIterator[Burst]:\n"
    '        """Each line, as it comes. Never ends by itself: it connects again."""\n'
)
_LOOKUP = "__import__('socket').getaddrinfo('127.0.0.1', 1)"
_CLASS = "class Station:"
_NAME = "        self.name = name\n"
_READ = "                    while line := await reader.readline():\n"
_YIELD = "yield Burst(time.time_ns(), [self.name], [line], on_done=done)"
_TYPE = '    type: Literal["station"] = "station"\n'
_DONE = '        """Called once the line is on disk, or cannot be stored."""\n'
_ANSWER = '            writer.write(b"stored\\n")\n'
_AGAIN = '    again: Duration = 5.0\n    """Pause before it is tried again."""\n'
_BUILD = "        return Station(name, self, context)\n"
_END = "            self._emit(Connected("

DEVICE = [
    Mistake("not registered", "station = ", "weather = ", 'type "station" is not registered'),
    Mistake("an example of others", "type: station, id: roof, host: 127.0.0.1, port: 7007, again: "
            "200ms", "type: system", "does not show the driver"),
    Mistake("an example that is wrong", "again: 200ms", "agian: 200ms", "cannot be used"),
    Mistake("no settings", "(DeviceSettings)", "(CodecSettings)", "is no DeviceSettings"),
    Mistake("two tags", _TYPE, '    type: str = "station"\n', "type is not one fixed word"),
    Mistake("not described", _AGAIN, "    again: Duration = 5.0\n", "again has no docstring"),
    Mistake("a password", _AGAIN, f'{_AGAIN}    token: str = ""\n    """Token."""\n',
            "token is a str and would be printed"),
    Mistake("no strictness", _TYPE, f'    model_config = {{"extra": "ignore"}}\n{_TYPE}',
            "takes unknown keys"),
    Mistake("at work when imported", _CLASS, f"{_LOOKUP}\n\n\n{_CLASS}",
            "importing berrygate_station does something: socket.getaddrinfo"),
    Mistake("a large library", _CLASS, f"sum(range(20_000_000))\n\n\n{_CLASS}",
            "times as long as all that the gateway has"),
    Mistake("the gateway's inner parts", _CLASS, f"import gateway.bus.bus\n\n\n{_CLASS}",
            "imports gateway.bus"),
    Mistake("at work when built", _BUILD,
            f"        {_LOOKUP}\n{_BUILD}",
            "build() does something: socket.getaddrinfo"),
    Mistake("a thread when built", _BUILD,
            "        import threading\n        threading.Thread(target=time.sleep, args=(5,),"
            f" daemon=True).start()\n{_BUILD}",
            "build() does something: thread"),
    Mistake("another name", _NAME, '        self.name = "station"\n', 'is called "station"'),
    Mistake("no iterator", _LISTEN, "    async def hear(self) -> AsyncIterator[Burst]:\n",
            "async def listen(self)"),
    Mistake("a coroutine", _LISTEN, "    async def listen(self):\n        return self.lines()\n\n"
            f"{_LISTEN.replace('listen', 'lines')}", "listen() gives"),
    Mistake("seconds", "Burst(time.time_ns()", "Burst(int(time.time())", "Burst.received is"),
    Mistake("text for bytes", "[line]", "[line.decode()]", "a payload is str"),
    Mistake("a column too short", "[self.name], [line]", "[self.name], [line, line]",
            "Burst.topics has 1 of 2"),
    Mistake("no codec", "    codec: SerializeAsAny[CodecSettings] = JsonSettings()\n",
            "    coder: SerializeAsAny[CodecSettings] = JsonSettings()\n", "nobody knows how"),
    Mistake("not to be read", "[line]", '[b"{" + line]', "what came cannot be decoded"),
    Mistake("nothing yielded", _YIELD, "pass\n                    if self.denied:\n"
            "                        yield Burst(0)", "nothing came within"),
    Mistake("values that are none", _YIELD,
            "yield Burst(time.time_ns(), readings="
            '[Reading(self.name, time.time_ns(), {"t": None})])',
            "t is NoneType"),
    Mistake("readings in ms", _YIELD,
            "yield Burst(time.time_ns(), readings="
            '[Reading(self.name, time.time_ns() // 10**6, {"t": 1.0})])', "Reading.time is"),
    Mistake("answers at once", f"                        {_YIELD}",
            f"                        writer.write(b'stored\\n')\n                        {_YIELD}",
            "answered before the burst was stored"),
    Mistake("never answers", _ANSWER, "            pass\n", "not answered although"),
    Mistake("on_done raises", _DONE, f"{_DONE}        outcome.rejected.clear_all()\n",
            "on_done raises AttributeError"),
    Mistake("nobody is told", "on_done=done)", "patient=False)", "has no on_done"),
    Mistake("ends", "            self._told(reason)\n",
            "            self._told(reason)\n            return\n", "listen() ended by itself"),
    Mistake("raises", "(OSError, ValueError)", "ValueError",
            "listen() raises ConnectionRefusedError"),
    Mistake("no trouble", "before, self.trouble = self.trouble, trouble",
            'before, self.trouble = self.trouble, ""', "trouble is empty although"),
    Mistake("trouble for ever", "before, self.trouble = self.trouble, trouble",
            "before, self.trouble = self.trouble, trouble or self.trouble", "although frames come"),
    Mistake("not watched", "        self.retained = 0\n", "", "does not tell when its other side"),
    Mistake("no event", "        if trouble and not before:\n", "        if trouble and None:\n",
            "no event tells that the other side is gone"),
    Mistake("events in a thread", "            self._emit(Connected(",
            "            __import__('threading').Thread(target=self._emit, args=(1,)).start()\n"
            f"{_END}", "outside the event loop's thread"),
    Mistake("blocks", _READ, f"{_READ}                        time.sleep(0.5)\n",
            "the event loop was held"),
    Mistake("leaves a task", "                self._told(\"\")\n",
            "                self._told(\"\")\n"
            "                self.task = asyncio.create_task(asyncio.sleep(60), name='beat')\n",
            "leaves behind: task beat"),
    Mistake("leaves a thread", "                self._told(\"\")\n",
            "                self._told(\"\")\n"
            "                import threading\n"
            "                threading.Thread(target=time.sleep, args=(20,), name='beat',"
            " daemon=True).start()\n", "leaves behind: thread beat"),
    Mistake("leaves a socket", "                    writer.close()\n",
            "                    self.kept = [*getattr(self, 'kept', []), writer]\n",
            "open sockets"),
    Mistake("cannot be ended", "                    writer.close()\n",
            "                    writer.close()\n                    await asyncio.sleep(20)\n",
            "listen() does not end when it is closed"),
    Mistake("shows a password", _AGAIN,
            f'{_AGAIN}    pin: Secret = Secret("Disconnected")\n    """Pin."""\n',
            "shows a secret of the settings"),
    Mistake("details that are no JSON", _LISTEN,
            "    concern = ''\n\n    def details(self):\n        return {'at': object()}\n\n"
            f"{_LISTEN}", "details() is no JSON"),
    Mistake("execute raises", _LISTEN,
            "    async def execute(self, command):\n        return self.commands[command.name]\n\n"
            f"{_LISTEN}", "execute() raises AttributeError"),
    Mistake("obeys what it does not know", _LISTEN,
            "    async def execute(self, command):\n        return Reply('ok')\n\n"
            f"{_LISTEN}", "execute() of a command that does not exist"),
    Mistake("odd topics", _LISTEN,
            "    def device_of(self, topic):\n        return self.name if topic == self.name else"
            f" topic.split('/')[1]\n\n{_LISTEN}", "device_of('') raises IndexError"),
]  # fmt: skip
"""Of the weather station."""

_SEND = "        await self._ask(conn, batch.readings)\n"
_RETURN = "        return Logbook(name, self)\n"
_REFUSED = "indices=[int(each) for each in rest])"
_CONTEXT = "    @asynccontextmanager\n    async def connect("

BRIDGE = [
    Mistake("not registered", "logbook = ", "book = ", 'type "logbook" is not registered'),
    Mistake("a password", "    token: Secret\n", "    token: str\n", "token is a str"),
    Mistake("at work when built", _RETURN,
            f"        {_LOOKUP}\n{_RETURN}",
            "build() does something: socket.getaddrinfo"),
    Mistake("another name", _NAME, '        self.name = "logbook"\n', "self.name = name"),
    Mistake("no context", _CONTEXT, "    async def connect(", "connect() gives"),
    Mistake("does not wait", "answer = (await reader.readline()).decode()", 'answer = "ok"',
            "raises nothing"),
    Mistake("cannot connect", "        except (OSError, TimeoutError) as error:\n"
            "            raise Unavailable(f\"{settings", "        except () as error:\n"
            "            raise Unavailable(f\"{settings", "raises ConnectionRefusedError"),
    Mistake("counts from one", _REFUSED, "indices=[int(each) + 1 for each in rest])",
            "Rejected names [4, 12]; it was [3, 11]"),
    Mistake("counts too far", _REFUSED, "indices=[int(each) + 99 for each in rest])",
            "of a batch of 20"),
    Mistake("names none", _REFUSED, "indices=None)", "which means that none was taken"),
    Mistake("does not look", 'if word == "refused":', 'if word == "refusals":',
            "raises Unavailable"),
    Mistake("drops quietly", 'if word == "refused":',
            'if word == "refused":\n            return\n        if word == "refusals":',
            "raises nothing"),
    Mistake("never denied", 'if word == "denied":', 'if word == "deny":', "raise Denied"),
    Mistake("no pause", "after=float(rest[0])", "after=0.0", "Throttled says after=0.0"),
    Mistake("a pause that is none", 'if word == "busy":', 'if word == "bus":', "raise Throttled"),
    Mistake("one connection for ever", "connection = await asyncio.open_connection("
            "settings.host, settings.port)", "connection = self.__dict__.setdefault('kept', None)"
            " or await asyncio.open_connection(settings.host, settings.port)\n"
            "                self.kept = connection", "connect() raises Unavailable"),
    Mistake("leaves a socket", "            connection[1].close()\n",
            "            self.kept = [*getattr(self, 'kept', []), connection]\n", "open sockets"),
    Mistake("changes the batch", _SEND, f"{_SEND}        batch.readings.clear()\n",
            "send() changes the batch"),
    Mistake("shows a password", 'Denied("the logbook', 'Denied("guessed-token is wrong: it',
            "the text of an error shows a secret"),
    Mistake("blocks", _SEND, f"        __import__('time').sleep(0.6)\n{_SEND}",
            "the event loop was held"),
    Mistake("knows ASCII only", _SEND,
            f"        str([each.values for each in batch.readings]).encode('ascii')\n{_SEND}",
            "raises UnicodeEncodeError"),
    Mistake("minds nothing to send", _SEND, f"        first = batch.readings[0]\n{_SEND}",
            "send() of nothing raises IndexError"),
    Mistake("cannot be cancelled", _SEND,
            "        try:\n            await asyncio.shield(self._ask(conn, batch.readings))\n"
            "        except asyncio.CancelledError as error:\n"
            "            raise Unavailable('given up') from error\n",
            "let CancelledError pass"),
    Mistake("a check that fails", _SEND,
            f"{_SEND}\n    async def check(self, conn):\n        return conn.alive\n",
            "check() where all is well raises AttributeError"),
    Mistake("blocks for ever", "            async with asyncio.timeout(self._settings.timeout):\n",
            "            async with asyncio.timeout(600):\n                await asyncio.sleep("
            "600 if len(self._settings.host) < 3 or type(what) is list and not what else 0)\n",
            "does not end within"),
]  # fmt: skip
"""Of the logbook."""
