"""Many people at once on one server process, and one JSON line a figure: ``make load``.

Each session is a WebSocket that speaks the browser's protocol, without a browser: it opens a page,
then moves the slider every two seconds, give or take one. Server time is from sending to the
message that the run has finished. Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import time
from pathlib import Path
from statistics import median

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Slider_pb2 import Slider
from websockets.asyncio.client import ClientConnection, connect

from bench import live

GOALS = {
    "load_p95_ms": "under 500",
    "load_errors": "0",
    "load_memory_per_session_mb": "under 40",
}
SESSIONS, SECONDS = 20, 40
SLIDER = "Concurrency"
PAUSE_S, SPREAD = 2.0, 0.5
"""Seconds between two moves, and by how much of it they differ."""
PATIENCE_S = 60.0
SEED = 20_260_511


class Session:
    """One browser tab."""

    def __init__(self, socket: ClientConnection, page: str, draw: random.Random) -> None:
        self.socket, self.page, self.draw = socket, page, draw
        self.slider: Slider | None = None
        self.place = 0
        self.kept: dict[str, ForwardMsg] = {}
        """Messages that the server need not send twice."""
        self.errors = 0

    async def run(self, moved: bool = False) -> float:
        """One run of the script; its time. [s]"""
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name = "v=1", self.page
        state.cached_message_hashes.extend(self.kept)
        if moved and self.slider is not None:
            widget = state.widget_states.widgets.add()
            widget.id = self.slider.id
            widget.string_array_value.data.append(self.slider.options[self.place])
        start = time.perf_counter()
        await self.socket.send(message.SerializeToString())
        while True:
            answer = ForwardMsg.FromString(await self._received())
            kind = answer.WhichOneof("type")
            if kind == "ref_hash":
                answer = self.kept[answer.ref_hash]
            elif answer.metadata.cacheable:
                self.kept[answer.hash] = answer
            if kind == "script_finished":
                if answer.script_finished != ForwardMsg.ScriptFinishedStatus.FINISHED_SUCCESSFULLY:
                    self.errors += 1
                return time.perf_counter() - start
            self._look_at(answer)

    async def _received(self) -> bytes:
        message = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        return message if isinstance(message, bytes) else message.encode()

    def _look_at(self, message: ForwardMsg) -> None:
        element = message.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            self.errors += 1
        elif kind == "slider" and element.slider.label == SLIDER:
            self.slider = element.slider
            if element.slider.set_value:
                self.place = list(element.slider.options).index(element.slider.raw_value[0])

    async def move_for(self, seconds: float) -> list[float]:
        """Times of the runs of that many seconds. [s]"""
        end, times = time.perf_counter() + seconds, []
        await asyncio.sleep(self.draw.uniform(0, PAUSE_S))
        while time.perf_counter() < end:
            assert self.slider is not None, (
                f"there is no slider {SLIDER} on {self.page or 'page 1'}"
            )
            step = self.draw.choice((-3, -2, -1, 1, 2, 3))
            self.place = min(max(self.place + step, 8), int(self.slider.max))
            times.append(await self.run(moved=True))
            await asyncio.sleep(PAUSE_S * self.draw.uniform(1 - SPREAD, 1 + SPREAD))
        return times


def main() -> int:
    """Start a server, load it, and print what was found."""
    parser = argparse.ArgumentParser(prog="bench.load", description=__doc__.partition("\n")[0])
    parser.add_argument("page", nargs="?", default="", help="name of a page; without it the first")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    with live.process(live.ROOT / "app.py") as (url, number):
        figures = asyncio.run(_load(url, number, given.page, given.sessions, given.seconds))
    for name, value in figures.items():
        goal = {"goal": GOALS[name]} if name in GOALS else {}
        print(json.dumps({name: value} | goal), flush=True)
    return int(figures["load_errors"] > 0)


async def _load(
    url: str, number: int, page: str, count: int, seconds: float
) -> dict[str, float]:  # fmt: skip
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    sockets = [
        await connect(address, subprotocols=["streamlit"], max_size=None, proxy=None)  # type: ignore[list-item]
        for _ in range(count + 1)
    ]
    try:
        sessions = [
            Session(socket, page, random.Random(SEED + place))
            for place, socket in enumerate(sockets)
        ]
        first, *others = sessions
        await first.run()  # what is loaded once is nobody's share
        await first.move_for(5)
        before = _resident_mb(number)
        openings = [await each.run() for each in others]
        moves = await asyncio.gather(*(each.move_for(seconds) for each in others))
        grown = _resident_mb(number) - before
    finally:
        for socket in sockets:
            await socket.close()
    times = sorted(1000 * spent for one in moves for spent in one)
    return {
        "load_sessions": count,
        "load_moves": len(times),
        "load_first_run_ms": round(1000 * median(openings), 1),
        "load_p50_ms": round(median(times), 1),
        "load_p95_ms": round(times[math.ceil(0.95 * len(times)) - 1], 1),
        "load_slowest_ms": round(times[-1], 1),
        "load_errors": sum(each.errors for each in sessions),
        "load_memory_per_session_mb": round(grown / count, 2),
    }


def _resident_mb(number: int) -> float:
    """Memory of a process; NaN where the system does not say."""
    try:
        lines = Path(f"/proc/{number}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return math.nan
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    sys.exit(main())
