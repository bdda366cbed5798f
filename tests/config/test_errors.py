"""Bad configurations: each is named with its place and what to write instead."""

from pathlib import Path

import pytest

from gateway import registry
from gateway.config import InvalidConfig, Problem, load, loads, render
from gateway.config.problems import SHOWN, wants_color

INFLUX = "bridges: [{type: influxdb, url: http://x, bucket: b, %s}]"
KNOWN = ", ".join(registry.known(registry.DEVICES))

# text, line:column, part of the message, fix
TABLE = [
    # YAML
    ("a: [1", "1:", "not YAML", ""),
    ("gateway:\n\tid: pi\n", "2:1", "not YAML", "indent with spaces, not tabs"),
    ("clock: auto: x", "1:12", "mapping values", "put text that holds"),
    ("clock: auto\nclock: trust", "2:1", '"clock" is here twice', "keep one of them"),
    ("- a", "1:1", "not keys and values", "begin each line with `key:`"),
    ("gateway: {id: !!python/name:os.system x}", "1:15", "tag", "leave out the !tag"),
    ("? [a]\n: 1", "1:3", "a key must be a word", ""),
    ("<<: {clock: auto}", "1:1", '"<<"', "write the keys out"),
    ("clock: a\x07", "1:9", "U+0007", "take it out"),
    ("clock: auto\n---\nclock: auto", "2:1", "another document", ""),
    # keys
    ("jurnal: {}", "1:1", 'unknown key "jurnal"', "journal:"),
    ("journal:\n  gatherr: 1s", "2:3", 'unknown key "gatherr"', "gather:"),
    ("zzz: 1", "1:1", 'unknown key "zzz"', "leave it out"),
    (INFLUX % "retry: {breaker: {failure: 5}}", "1:72", 'unknown key "failure"', "failures:"),
    ("bridges: [{type: influxdb, bucket: b}]", "1:11", '"url" is missing', "add url:"),
    # kinds of values
    ("broker: {embedded: yes}", "1:20", "neither true nor false", "embedded: true"),
    ("broker: {embedded: off}", "1:20", "neither true nor false", "embedded: false"),
    ("broker: {embedded: 1}", "1:20", "neither true nor false", "embedded: true"),
    ("broker: {port: true}", "1:16", "not a number", "write it in digits"),
    ("broker: {port: x}", "1:16", "not a number", "write it in digits"),
    ("broker: {port: 1.5}", "1:16", "not a whole number", "port: 2"),
    ("broker: {port: 70000}", "1:16", "too large", "port: 65535"),
    ("broker: {port: 01883}", "1:16", "octal", '1883 for the number, or "01883" for text'),
    ("broker:\n  port:", "2:8", "a value is missing", "give it one"),
    ("broker: {host: 5}", "1:16", "not text", 'put it in quotes: "5"'),
    ("broker: 5", "1:9", "not keys and values", "broker: {key: value}"),
    ("broker: {protocol: 4}", "1:20", "not one of the choices", 'use one of 5, 3.1.1'),
    ("devices: [{type: mqtt, protocol: 6}]", "1:34", "choices", "use one of 5, 3.1.1"),
    ("clock: tust", "1:8", '"tust"', "clock: trust"),
    ("gateway: {id: My Pi}", "1:15", '"My Pi" is not an id', "id: my-pi"),
    (f"broker: {{port: {'9' * 5000}}}", "1:16", "not a number", "write it in digits"),
    (f"journal: {{gather: {'9' * 5000}d}}", "1:19", "is not a duration", "gather: 5s"),
    # quantities
    ("journal:\n  max_size: 10GBB", "2:13", 'unknown size unit "GBB"', "max_size: 10GB"),
    ("journal: {max_size: 10KB}", "1:21", 'unknown size unit "KB"', "max_size: 10kB"),
    ("journal: {max_size: 1MB}", "1:21", "too small", "max_size: 8MB"),
    ("journal: {gather: 5}", "1:19", "duration without a unit", "gather: 5s"),
    ("journal: {gather: 5 sec}", "1:19", 'unknown duration unit "sec"', "gather: 5s"),
    ("journal: {gather: -5s}", "1:19", "cannot be negative", "gather: 5s"),
    ("journal: {gather: 12:30:00}", "1:19", '"12:30:00" is not a duration', "gather: 5s"),
    ("journal: {max_age: 99999d}", "1:20", "longer than 36500d", "max_age:"),
    ("journal: {gather: '5{x}'}", "1:19", "is not a duration", "gather: 5s"),
    # the broker
    ("broker: {embedded: true, url: mqtt://x}", "1:20", "not both", "leave out embedded"),
    ("broker: {host: 0.0.0.0}", "1:16", "loopback", "host: 127.0.0.1"),
    ("broker: {username: u}", "1:20", "asks nobody", "leave out username"),
    ("broker: {password: p}", "1:20", "asks nobody", "leave out password"),
    ("devices: [{type: mqtt, username: u}]", "1:34", "own broker", "leave out username"),
    ("devices: [{type: mqtt, ca_file: u}]", "1:33", "own broker", "leave out ca_file"),
    ("devices: [{type: mqtt, url: 'mqtt://x', cert_file: a}]", "1:52", "needs its key", "key_file"),
    ("broker: {url: 'mqtt://x', listeners: [{}]}", "1:38", "only the embedded", "leave out"),
    ("broker: {listeners: [{port: 1883}]}", "1:21", "one port", "its own port"),
    ("broker: {listeners: [{users: {Ab: x}}]}", "1:35", "not an id", "Ab: ab"),
    ("broker: {url: 'http://x'}", "1:15", "mqtt://", ""),
    ("broker: {url: 'mqtt://u:p/w@h'}", "1:15", "write / as %2F", ""),
    ("broker: {url: 'mqtt://x', cert_file: a}", "1:38", "needs its key", "add key_file:"),
    # drivers
    ("devices: [{type: mqt}]", "1:18", f'"mqt" (known: {KNOWN})', "type: mqtt"),
    ("bridges: [{type: influx}]", "1:18", 'unknown bridge type "influx"', "type: influxdb"),
    ("devices: [{id: a}]", "1:11", "a type is missing", f"type: one of {KNOWN}"),
    ("devices: [a]", "1:11", "a type is missing", ""),
    ("devices: {}", "1:10", "devices is a list", "- type: …"),
    ("devices: [{type: mqtt, codec: jsn}]", "1:31", 'codec type "jsn"', "type: json"),
    ("devices: [{type: mqtt, codec: {type: json, x: 1}}]", "1:44", 'unknown key "x"', "leave"),
    ("devices: [{type: mqtt, topics: a/+/b}]", "1:32", "not a list", 'topics: ["a/+/b"]'),
    ("devices: [{type: mqtt, topics: []}]", "1:32", "cannot be empty", ""),
    ("devices: [{type: mqtt, qos: 2}]", "1:29", '"2" is not one', "use one of 0, 1"),
    ("devices:\n- {type: mqtt, id: a}\n- {type: mqtt, id: a}", "3:20", '"a" is taken', "another"),
    ("devices: [{type: mqtt, id: gateway}]", "1:28", "reserved", "give it another id"),
    (INFLUX % "name: a}, {type: influxdb, url: http://x, bucket: b, name: a", "1:", "taken", ""),
    (INFLUX % "retry: {attempts: many}", "1:72", "not one of the choices", "attempts: forever"),
    (INFLUX % "retry: {base: 2m}", "1:68", "base, 2m, is longer than max, 1m", "at most 1m"),
    (INFLUX % "pool: {min: 5}", "1:66", "min, 5, is more than max, 4", "raise max, or keep fewer"),
    (INFLUX % "pool: {min: 0, max: 0}", "1:74", "too small", "max: 1"),
    ("bridges: [{type: influxdb, url: x.example, bucket: b}]", "1:33", "not a URL", "http://x.ex"),
    (INFLUX % "start: never", "1:61", "not of the expected form", "now, earliest, or a time ago"),
    ("gateway: {root: a/b}", "1:17", "not of the expected form", "First level"),
    # references
    ("gateway: {id: '${NOT_SET}'}", "1:15", "NOT_SET is not set", "${NOT_SET:-default}"),
    ("gateway: {id: '${NOT_SET'}", "1:15", 'without "}"', "close it"),
    ("gateway: {id: '${a b}'}", "1:15", "names no variable", "write ${NAME}"),
    ("gateway: {id: '${A:-${B}}'}", "1:15", "within a reference", "one at a time"),
    ("gateway: {id: '${file:/nowhere}'}", "1:15", "/nowhere: No such file", "readable"),
    ("gateway: {id: '${file:/dev/zero}'}", "1:15", "not a file", "name a file"),
]  # fmt: skip


def problems(text: str, **environment: str) -> list[Problem]:
    with pytest.raises(InvalidConfig) as error:
        loads(text, environment)
    return error.value.problems


@pytest.mark.parametrize(
    ("text", "place", "message", "fix"),
    TABLE,
    ids=lambda value: value[:40] if isinstance(value, str) else value,
)
def test_each_is_one_problem_at_its_place(text: str, place: str, message: str, fix: str) -> None:
    found = problems(text)
    assert len(found) == 1, render(found)
    at = f"{found[0].line}:{found[0].column}"
    assert at.startswith(place) if place.endswith(":") else at == place, render(found)
    assert message in found[0].message, render(found)
    assert fix in found[0].fix, render(found)


def test_the_block_is_as_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("berrygate.yaml").write_text("clock: auto\n\njournal:\n  max_size: 10GBB\n")
    with pytest.raises(InvalidConfig) as error:
        load(Path("berrygate.yaml"))
    assert str(error.value) == (
        'error: unknown size unit "GBB"\n'
        "  --> berrygate.yaml:4:13   journal.max_size\n"
        "   |\n"
        " 4 |   max_size: 10GBB\n"
        "   |             ^^^^^ expected B, kB, MB, GB\n"
        " fix: max_size: 10GB\n"
        "1 error."
    )


def test_all_errors_in_one_run() -> None:
    text = (
        "jurnal: {}\nbroker: {port: x}\ndevices:\n- {type: sytem}\n"
        "- {type: mqtt, qos: 7, topic: a}\n- {type: mqtt, id: gateway}\n"
        "bridges:\n- {type: influxdb, token: '${NONE}'}\n"
    )
    found = problems(text)
    assert [(p.line, p.path) for p in found] == [
        (1, "jurnal"), (2, "broker.port"), (4, "devices.0.type"), (5, "devices.1.qos"),
        (5, "devices.1.topic"), (6, "devices.2.id"), (8, "bridges.0"), (8, "bridges.0.token"),
    ]  # fmt: skip
    assert render(found).endswith("\n8 errors.")


def test_what_came_of_another_problem_is_not_said() -> None:
    """Without the bucket the model would complain, too."""
    found = problems("bridges: [{type: influxdb, url: http://x, bucket: '${NONE}'}]")
    assert [p.path for p in found] == ["bridges.0.bucket"]


def test_a_bad_item_does_not_shift_the_places_of_others() -> None:
    found = problems("devices:\n- {type: no}\n- {type: mqtt, id: a}\n- {type: mqtt, id: a}")
    assert [(p.line, p.column) for p in found] == [(2, 10), (4, 20)]


def test_an_alias_repeats_no_problem() -> None:
    text = (
        "bridges:\n- {type: influxdb, url: http://x, bucket: b, retry: &r {bas: 1s}}\n"
        "- {type: influxdb, url: http://x, bucket: b, retry: *r}"
    )
    assert len(problems(text)) == 1


def test_either_form_of_a_value_is_offered() -> None:
    (found,) = problems(INFLUX % "retry: {attempts: many}")
    assert found.hint == "expected forever or a whole number"


def test_marks_stand_below_what_they_mean() -> None:
    (found,) = problems('gateway: {root: "温室", id: "Pi"}')
    lines = render([found]).splitlines()
    # Each of the two wide characters takes two columns of a terminal.
    assert lines[4].index("^") == lines[3].index('"Pi"') + 2
    long = "gateway: {root: " + "r" * 300 + ", id: Pi}"
    (found,) = problems(long)
    lines = render([found]).splitlines()
    assert len(lines[3]) < 130
    assert lines[3][lines[4].index("^") :].startswith("Pi")


def test_nothing_in_a_message_drives_the_terminal() -> None:
    assert "\x1b" not in render(problems('"\\e[2J": 1\nclock: "\\e[31m\\u202e"'))


def test_a_file_full_of_errors_is_not_all_shown() -> None:
    found = problems("".join(f"k{n}: 1\n" for n in range(SHOWN + 7)))
    text = render(found)
    assert "… and 7 more." in text
    assert text.endswith(f"{SHOWN + 7} errors.")


def test_color_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    (found,) = problems("clock: x")
    assert "\x1b" not in render([found])
    assert "\x1b[1;31merror" in render([found], color=True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_color(Terminal())  # type: ignore[arg-type]
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "place", "message"),
    [
        (b"clock: auto\ngateway: {id: \xff}", (2, 15), "not UTF-8"),
        ("clock: auto".encode("utf-16"), (1, 1), "not UTF-8"),
        (b"#" * 1_000_001, (0, 0), "larger than 1,000,000 bytes"),
    ],
)
def test_files_that_are_no_text(
    tmp_path: Path, raw: bytes, place: tuple[int, int], message: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(raw)
    with pytest.raises(InvalidConfig) as error:
        load(path)
    (found,) = error.value.problems
    assert ((found.line, found.column), message) == (place, found.message)
    assert found.fix


@pytest.mark.parametrize("name", ["none.yaml", ".", "/dev/zero", "a\0b"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        load(tmp_path / name)
    assert error.value.problems[0].fix
