"""More load than the service can bear: it sheds with 429 and 503, and every accepted job ends.

``FDETECT_LOAD=60`` loads it for a minute instead of seconds, and prints the times of GET /v1/jobs/{id}.
"""

import os
import threading
import time

import httpx
import numpy as np
import pytest

from tests.service.test_serving import Served

_SECONDS = float(os.environ.get("FDETECT_LOAD", "2"))
_SENDERS = 16


@pytest.mark.slow
def test_it_sheds_load_and_ends_what_it_accepted(model, media, faces, tmp_path):
    served = Served(tmp_path, model, f"sqlite:///{tmp_path / 'service.db'}", 1, "--waiting", "5")
    served.ready()
    content, end = (media / "face.png").read_bytes(), time.monotonic() + _SECONDS
    accepted, statuses, taken, lock = [], {}, [], threading.Lock()

    def send() -> None:
        with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
            while time.monotonic() < end:
                answer = client.post("/v1/jobs", files={"files": ("f.png", content)}, data={"again": "true"})
                with lock:
                    statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
                    if answer.status_code == 202:
                        accepted.append(answer.json()["id"])
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after"]) > 0

    def look() -> None:
        with httpx.Client(base_url=served.client.base_url, timeout=60) as client:
            while time.monotonic() < end:
                if accepted:
                    began = time.monotonic()
                    assert client.get(f"/v1/jobs/{accepted[-1]}").status_code == 200
                    taken.append(time.monotonic() - began)
                time.sleep(0.02)

    threads = [threading.Thread(target=send) for _ in range(_SENDERS)] + [threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {202, 503}
    assert {served.ended(job)["state"] for job in accepted} == {"done"}
    p50, p99 = 1000 * np.percentile(taken, (50, 99))
    print(f"{statuses}, {len(taken)} looks: median {p50:.0f} ms, 99th percentile {p99:.0f} ms")
    served.close()
