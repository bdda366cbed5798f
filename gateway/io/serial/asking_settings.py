"""What devices on a line are asked and told, as configured."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from gateway.core.commands import Schema
from gateway.core.contracts import Reply
from gateway.core.errors import Unavailable
from gateway.core.settings import Duration, Settings, wrong
from gateway.io.placeholders import fill, names_in
from gateway.io.serial.asking import Asking
from gateway.io.serial.polls import Poll
from gateway.io.wire import Wire, wire_bytes

Timeout = Annotated[Duration, Field(gt=0)]


class PollSettings(Settings):
    """A request that is asked again and again."""

    request: Annotated[Wire, Field(min_length=1)]
    """What is sent."""
    every: Annotated[Duration, Field(ge=0.01)] = 5.0
    """How often."""
    timeout: Timeout = 1.0
    """How long the answer may take."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often it is tried again at once. Then it is asked ever more rarely until an answer
    comes, down to once in 30 s."""
    answer: Wire = ""
    """What the answer begins with; a frame that begins otherwise, such as an echo, is none."""
    prefix: Wire = ""
    """Put before the answer for the codec, which can tell answers to several requests apart by
    it."""
    confirm: Wire = ""
    """Sent when the answer is on disk, for devices that delete what they gave only then."""

    def build(self) -> Poll:
        """See gateway.io.serial.polls."""
        return Poll(
            wire_bytes(self.request),
            self.every,
            self.timeout,
            self.retries,
            wire_bytes(self.answer),
            wire_bytes(self.prefix),
            wire_bytes(self.confirm),
        )


class CommandSettings(Settings):
    """Something that the device can be told."""

    write: Annotated[str, Field(min_length=1)]
    """What is sent; `{name}` is the argument of that name."""
    reply: Wire = ""
    """What the answer begins with if all went well."""
    error: Wire = ""
    """What the answer begins with if not."""
    timeout: Timeout = 1.0
    """How long the answer may take."""

    @field_validator("write")
    @classmethod
    def _write(cls, value: str) -> str:
        names_in(value)
        return value

    @model_validator(mode="after")
    def _answered(self) -> "CommandSettings":
        if self.error and not self.reply:
            message = "without a reply nobody can know that there is no error"
            raise wrong(
                "error", message, "add reply:, what the answer begins with if all went well"
            )
        return self

    def arguments(self) -> Schema:
        """What the arguments must be."""
        value = {"type": ["number", "string"]}
        names = sorted(names_in(self.write))
        return {
            "type": "object",
            "properties": dict.fromkeys(names, value),
            "required": names,
            "additionalProperties": False,
        }

    async def execute(self, args: Mapping[str, Any], asking: Asking) -> Reply:
        """Send it, and wait for what becomes of it. Raises nothing of its own."""
        try:
            data = fill(self.write, args)
        except ValueError as error:
            return Reply("rejected", error=str(error))
        try:
            return await self._sent(data, asking)
        except Unavailable as error:
            return Reply("failed", error=str(error))

    async def _sent(self, data: bytes, asking: Asking) -> Reply:
        """Raises Unavailable."""
        good, bad = wire_bytes(self.reply), wire_bytes(self.error)
        if not good:
            await asking.send(data, self.timeout)
            return Reply("ok")
        ends = tuple(filter(None, (good, bad)))
        answer = await asking.ask(data, lambda frame: frame.startswith(ends), self.timeout)
        text = answer.decode(errors="backslashreplace")
        return Reply("ok", text) if answer.startswith(good) else Reply("failed", error=text)
