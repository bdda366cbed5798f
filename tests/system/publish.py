"""A device that publishes without a pause, whatever becomes of the gateway, and then asks what
became of its messages: `publish.py RATE STOP RESULT`, until the file STOP is there."""

import json
import sys
import threading
import time
import urllib.request
from pathlib import Path

from publisher import Publisher  # type: ignore[import-not-found]  # beside this file over there

DEVICES = 4


def stored() -> set[int]:
    """The numbers that history has."""
    found: set[int] = set()
    for number in range(DEVICES):
        query = f"/api/v1/query?device=d{number}&metric=seq&start=-1h"
        with urllib.request.urlopen("http://127.0.0.1:8080" + query, timeout=10) as answer:
            found.update(int(value) for _, value in json.load(answer)["points"])
    return found


def main() -> None:
    """Publish, then compare."""
    rate, stop, result = float(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    publisher, enough = Publisher(1883, DEVICES), threading.Event()
    thread = threading.Thread(target=publisher.run, args=(0, 10**9, rate, enough))
    thread.start()
    while not stop.exists():
        time.sleep(0.1)
    enough.set()
    thread.join()
    missing = set(publisher.acknowledged)
    for _ in range(100):
        missing -= stored()
        if not missing:
            break
        time.sleep(0.2)
    figures = {"acknowledged": len(publisher.acknowledged), "repeated": len(publisher.repeated)}
    result.write_text(
        json.dumps({**figures, "missing": len(missing), "which": sorted(missing)[:20]})
    )


main()
