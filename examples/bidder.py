"""A live bidder in a few lines: it asks 80 % of each offer's standing quote, and prints the notices it gets.

    python examples/bidder.py --port 9000 --secret whsec_…

Register it with POST /v1/feeds: {"provider_id": "prov_…", "kind": "live", "bid_url": "http://127.0.0.1:9000/bid",
"notices_url": "http://127.0.0.1:9000/notices", "notify": ["won", "lost", "settled"]}. The answer tells the secret.
Needs nothing but Python: read it, then write your own in any language.
"""

import argparse
import base64
import hashlib
import hmac
import json
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def signed(headers, body, secret):
    """Whether the market sent this in the last five minutes (Standard Webhooks)."""
    message_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or abs(time.time() - int(at)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{at}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    given = headers.get("webhook-signature", "").encode()
    return any(hmac.compare_digest(wanted, one) for one in given.split())


def answer(request, share):
    """The bids for a request: every price of the standing quote, times `share`. None: no bid."""
    bids = [
        {"offer_id": offer["offer_id"], "prices": scaled(offer["prices"], share)}
        for offer in request["offers"]
    ]
    return {"bids": bids} if bids else None


def scaled(prices, share):
    """Prices (decimal strings, USD) times a share; long-context steps too."""
    found = {name: str(Decimal(price) * share) for name, price in prices.items() if isinstance(price, str)}
    if "steps" in prices:
        found["steps"] = [
            {**scaled(step, share), "above_tokens": step["above_tokens"]} for step in prices["steps"]
        ]
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open: a new one for each task costs more than the bid
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not signed(self.headers, body, self.server.secret):
            return self.reply(401)
        message = json.loads(body)
        if message["type"] != "bid.request":
            print(json.dumps(message), flush=True)  # event_id stays the same if a notice comes twice
            return self.reply(204)
        bid = answer(message, self.server.share)
        return self.reply(204) if bid is None else self.reply(200, json.dumps(bid).encode())

    def reply(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing of each request."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=9000, help="0: any free one")
    parser.add_argument("--secret", required=True, help="whsec_…, told when the feed was registered")
    parser.add_argument("--share", type=Decimal, default=Decimal("0.8"), help="of the standing quote")
    args = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.secret, server.share = args.secret, args.share
    print(json.dumps({"listening": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
