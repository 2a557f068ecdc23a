"""A stranger's way through the market by the command line alone: a real service, a simulated upstream."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lowtide.simulate.feed_faults import FeedFault
from lowtide.simulate.feed_server import feed_server
from lowtide.simulate.server import serving
from lowtide.simulate.upstream import Upstreams
from lowtide.values.instants import rfc3339
from lowtide.values.money import nano

KEY = "lt_operator_key_of_the_command_line_test"


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Program:
    """`lowtide` as its user runs it, in a folder of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lowtide",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.folder,
            env=self.env,
        )

    async def __call__(self, *words: str) -> Done:
        process = await self.start(*words)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def ok(self, *words: str) -> Done:
        done = await self(*words)
        assert done.code == 0, done.err + done.out
        return done

    @asynccontextmanager
    async def serving(self, *words: str) -> AsyncIterator[list[str]]:
        """A service on a free port, stopped by Ctrl-C at the end; gives the lines that it said."""
        process = await self.start("serve", "--port", "0", *words)
        assert process.stdout is not None
        said: list[str] = []
        while not said or not said[-1].startswith("Stop with"):
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            assert line, (await process.communicate())[1].decode()
            said.append(line.rstrip())
        self.env["LOWTIDE_URL"] = said[0].split()[-1]
        try:
            yield said
        finally:
            process.send_signal(2)
            out, err = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0, err.decode()
            assert "Lowtide is closed." in out.decode()


@pytest.fixture
def lowtide(tmp_path: Path) -> Program:
    root = Path(__file__).parents[2]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return Program(
        tmp_path,
        kept
        | {
            "PYTHONPATH": str(root / "src"),
            "LOWTIDE_CONFIG": str(root / "config"),
            "LOWTIDE_DATABASE_URL": f"sqlite:///{tmp_path}/market.db",
            "LOWTIDE_OPERATOR_KEY": KEY,
            "LOWTIDE_ALLOW_PRIVATE_URLS": "1",
        },
    )


async def offer(lowtide: Program, model: str, quality: str, price: str) -> str:
    """An offer of north that costs the same price per million tokens in and out."""
    claims = ("--p50-ms", "20", "--p95-ms", "50", "--tokens-per-second", "2000")
    added = await lowtide.ok(
        "offers", "add", "--provider", "north", "--model", model, "--quality", f"general={quality}:500",
        *claims, "--json",
    )  # fmt: skip
    await lowtide.ok("offers", "quote", added.json["id"], "--input", price, "--output", price)
    return str(added.json["id"])


def falling() -> list[dict[str, Any]]:
    """Two price steps a few seconds ahead."""
    now = datetime.now(UTC)
    first, second = (rfc3339(now + timedelta(seconds=ahead)) for ahead in (4, 6))
    return [
        {
            "prices": {"input_per_mtok": "2", "output_per_mtok": "2"},
            "valid_from": first,
            "valid_until": second,
        },
        {"prices": {"input_per_mtok": "1", "output_per_mtok": "1"}, "valid_from": second},
    ]


async def test_a_stranger_buys_at_a_cheaper_hour_and_checks_every_decision(lowtide: Program):
    async with serving(Upstreams()) as upstream, lowtide.serving():
        await lowtide.ok("providers", "add", "north", "--base-url", f"{upstream}/north/v1")
        tide, steady, weak = await asyncio.gather(
            offer(lowtide, "tide", "0.95", "8"),
            offer(lowtide, "steady", "0.95", "4"),
            offer(lowtide, "weak", "0.30", "0.5"),
        )
        (lowtide.folder / "tide.json").write_text(json.dumps(falling()))
        await lowtide.ok("offers", "quote", tide, "--curve", "tide.json")
        submitted = await lowtide(
            "tasks", "submit", "Where is my parcel?", "--min-quality", "0.8", "--max-output", "20",
            "--within", "60s", "--label", "team=support", "--wait", "0.1",
        )  # fmt: skip
        assert submitted.code == 1
        assert "Not done after 0.1 s; it goes on: lowtide tasks watch task_" in submitted.out
        assert "held" in submitted.out
        assert "waits until" in " ".join(submitted.out.split())
        task = (await lowtide.ok("tasks", "list", "--label", "team=support", "--json")).json["data"][0]
        watched = await lowtide.ok("tasks", "watch", task["id"])
        assert "held: The best bid now is $" in watched.out
        assert "running at north tide, expected price $" in watched.out
        assert "succeeded" in watched.out
        ended = (await lowtide.ok("tasks", "show", task["id"], "--json")).json
        assert nano(ended["award"]["price_usd"]) < nano(ended["hold"]["price_now_usd"])
        assert nano(ended["receipt"]["saved_usd"]) > 0
        await review(lowtide, ended, {tide: "won", steady: "outbid", weak: "quality_below_floor"})


async def review(lowtide: Program, task: dict[str, Any], reasons: dict[str, str]) -> None:
    """Look at the auctions of a task as an auditor would."""
    auction = task["auction_id"]
    listed, shown, replayed, healthy, _ = await asyncio.gather(
        lowtide.ok("auctions", "list", "--task", task["id"], "--json"),
        lowtide.ok("auctions", "show", auction),
        lowtide.ok("auctions", "replay", auction),
        lowtide.ok("doctor", "--json"),
        lowtide.ok("auctions", "export", "--output", "log.jsonl"),
    )
    assert [row["outcome"] for row in listed.json["data"]] == ["awarded", "held"]
    bids = [line.split() for line in shown.out.splitlines() if " north " in line]
    assert [line[-1] for line in bids] == list(reasons.values())
    assert all("/" in word for line in bids for word in line if word.startswith("."))
    assert "expected price  $" in shown.out
    assert f"lowtide auctions replay {auction}" in shown.out
    assert "identical" in replayed.out
    lines = [json.loads(line) for line in (lowtide.folder / "log.jsonl").read_text().splitlines()]
    assert auction in [line.get("auction") or line.get("id") for line in lines if line["type"] == "auction"]
    assert "settlement" in {line["type"] for line in lines}
    assert {check["state"] for check in healthy.json["checks"]} <= {"ok", "unset"}
    assert {"ledger", "log", "key", "offers"} <= {
        c["check"] for c in healthy.json["checks"] if c["state"] == "ok"
    }
    held = next(row["id"] for row in listed.json["data"] if row["outcome"] == "held")
    outbid = next(offer for offer, reason in reasons.items() if reason == "outbid")
    why, waited = await asyncio.gather(
        lowtide.ok("auctions", "why", auction, outbid), lowtide.ok("auctions", "show", held)
    )
    assert "(outbid)" in why.out
    for name in ("waits for", "slot from", "expected then", "reservation", "release", "latest start"):
        assert f"\n{name}  " in waited.out


async def test_an_operator_without_a_key_is_shown_one_that_works(lowtide: Program):
    del lowtide.env["LOWTIDE_OPERATOR_KEY"]
    async with lowtide.serving() as said:
        exported = dict(line.split()[1].split("=") for line in said if "export" in line)
        assert exported["LOWTIDE_URL"] == lowtide.env["LOWTIDE_URL"]
        lowtide.env["LOWTIDE_KEY"] = exported["LOWTIDE_KEY"]
        listed, nothing, second, refused = await asyncio.gather(
            lowtide("providers", "list", "--json"),
            lowtide("feeds", "list"),
            lowtide("serve", "--port", "0"),
            lowtide("tasks", "list", "--key", "lt_wrong"),
        )
        assert listed.json == {"data": [], "next": None}
        assert nothing.out.startswith("None yet. ")
        assert (second.code, second.err.count("\n")) == (1, 1)
        assert "served by another process" in second.err
        assert refused.code == 1
        assert refused.err.startswith("This key is unknown or was revoked.")


async def test_a_seller_s_prices_come_by_a_feed_and_what_is_suspicious_is_confirmed(lowtide: Program):
    header = "model,input_per_mtok,output_per_mtok"
    (lowtide.folder / "prices.csv").write_text(f"{header}\nsmall,0.25,1.25\nodd,-1,2\n")
    tried, tariff = await asyncio.gather(
        lowtide.ok("feeds", "try", "prices.csv"),
        lowtide.ok("feeds", "try", f"{lowtide.env['LOWTIDE_CONFIG']}/tariffs/night.toml", "--input", "4"),
    )
    assert "Read as csv: 2 entries give 1 offers of 1 models; 1 refused." in tried.out
    assert "negative_price" in tried.out
    assert "$4" in tariff.out
    async with feed_server() as (server, base), lowtide.serving():
        server.set_document("/prices", (lowtide.folder / "prices.csv").read_bytes(), "text/csv")
        await lowtide.ok("providers", "add", "north", "--base-url", "http://127.0.0.1:9/v1")
        added = await lowtide.ok("feeds", "add", "north", "--poll", f"{base}/prices", "--interval", "10m")
        assert "1 offers, 1 quotes taken" in added.out
        feed = next(word for word in added.out.split() if word.startswith("feed_"))
        offer = (await lowtide.ok("offers", "list", "--json")).json["data"][0]["id"]
        server.set_document("/prices", f"{header}\nsmall,2.5,12.5\n".encode(), "text/csv")
        await lowtide.ok("feeds", "run", feed)
        held, shown, listed = await asyncio.gather(
            lowtide.ok("offers", "quotes", "--quarantined", "--json"),
            lowtide.ok("feeds", "show", feed),
            lowtide.ok("feeds", "list"),
        )
        assert "input jumps from $0.25 to $2.5" in shown.out
        assert " ok " in listed.out
        assert [quote["offer_id"] for quote in held.json["data"]] == [offer]
        confirmed = await lowtide.ok("offers", "confirm", held.json["data"][0]["id"])
        assert "counts now" in confirmed.out
        await lowtide.ok("offers", "source", offer, "push")
        assert (await lowtide.ok("offers", "show", offer, "--json")).json["price_source"] == "push"
        again = await lowtide.ok("feeds", "run", feed)
        assert "1 of these offers are priced by another source" in again.out
        server.fail("/prices", FeedFault("status", status=503))
        assert (await lowtide("feeds", "run", feed)).code == 1
        ill = await lowtide("doctor")
        assert ill.code == 1
        assert f"0 ok, 1 failing, 0 silent: {feed} (poll, failing)" in ill.out
        await lowtide.ok("offers", "source", offer, feed)
        closed = await lowtide.ok("feeds", "close", feed)
        assert "is closed" in closed.out
        assert (await lowtide.ok("offers", "show", offer, "--json")).json["withdrawn_at"] is not None


async def test_keys_are_made_and_revoked_while_no_service_runs(lowtide: Program):
    made = (await lowtide.ok("keys", "create", "--name", "support", "--expires", "+30d", "--json")).json
    assert made["key"].startswith("lt_")
    listed = await lowtide.ok("keys", "list", "--json")
    assert [key["id"] for key in listed.json["data"]] == [made["id"]]
    assert made["key"] not in listed.out
    revoked, unknown = await asyncio.gather(
        lowtide("keys", "revoke", made["id"]), lowtide("keys", "revoke", "key_nobody")
    )
    assert revoked.code == 0
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)


async def test_what_cannot_be_served_is_told_in_one_line(lowtide: Program, tmp_path: Path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "lowtide.toml").write_text("[market\n")
    broken, taken, nowhere = (Program(tmp_path, dict(lowtide.env)) for _ in range(3))
    broken.env["LOWTIDE_CONFIG"] = str(config)
    nowhere.env["LOWTIDE_DATABASE_URL"] = "mysql://somewhere/market"
    async with serving(Upstreams()) as upstream:
        results = await asyncio.gather(
            broken("serve"),
            taken("serve", "--port", upstream.rpartition(":")[2]),
            nowhere("serve", "--port", "0"),
        )
    for result, words in zip(results, ("not TOML", "already in use", "not supported"), strict=True):
        assert (result.code, result.err.count("\n"), result.out) == (1, 1, "")
        assert words in result.err


async def test_the_doctor_exits_1_where_the_market_that_was_named_does_not_answer(lowtide: Program):
    checked, migrated = await asyncio.gather(
        lowtide("doctor", "--url", "http://127.0.0.1:1"), lowtide("migrate", "--check")
    )
    assert checked.code == 1
    assert "BROKEN" in checked.out
    assert migrated.code == 0
