"""`python -m lowtide.simulate`: providers to try the market with."""

import json
import re
import subprocess
import sys
import urllib.request


def test_it_says_where_its_providers_are_and_they_answer():
    command = [sys.executable, "-m", "lowtide.simulate", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base = re.search(r"http://[^/]+", process.stdout.readline())[0]
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()
        url = f"{base}/acme/v1/chat/completions"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["object"] == "chat.completion"
        with urllib.request.urlopen(f"{base}/_simulator/stats", timeout=10) as stats:
            assert "acme" in stats.read().decode()
        process.terminate()
