"""The same forest of scikit-learn behind our routes and behind Flask, loaded by wrk on loopback in one run, as ratios.

    pip install -r benches/peers/requirements-http.txt        # and wrk, from the system
    python benches/peers/http_service.py [--seconds N] [--rounds N] [--connections N]
    python benches/peers/http_service.py --fuzz                       # schemathesis against our OpenAPI document instead

The model is a RandomForestClassifier of 100 trees on 30 features. Flask answers as hosts of scikit-learn do: the JSON body
becomes a DataFrame of one row, then predict and predict_proba; gunicorn runs it in two processes. Ours is the example
`http_service` on the forest as our exporter writes it; the script builds it. Both must give the same probability for every
row before they are loaded. Rounds alternate; requests per second and p99 are the best of each side's rounds, so that what
else the machine does counts against neither. wrk shares the cores with what it loads.
"""
import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "target", "http")
EXPORTER = os.path.join(ROOT, "src", "model", "tree", "foreign", "export_scikit_learn.py")
EXAMPLE = os.path.join(ROOT, "target", "release", "examples", "http_service")
N_FEATURES, N_ROWS = 30, 200

# What gunicorn runs: a service as the tutorials have it.
FLASK = '''
import time
import joblib
import pandas as pd
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load("forest.pkl")
state = {"requests": 0, "mean": 0.0}


@app.route("/predict/<name>", methods=["POST"])
def predict(name):
    if name != "forest":
        return jsonify({"success": False, "error": "no such model"}), 404
    started = time.perf_counter()
    row = pd.DataFrame([request.get_json()])
    label = int(model.predict(row)[0])
    probability = model.predict_proba(row)[0].tolist()
    state["requests"] += 1
    took = time.perf_counter() - started
    state["mean"] += (took - state["mean"]) / state["requests"]
    return jsonify({"success": True, "prediction": label, "probability": probability, "response_time": took})
'''

# Every request is another row; ours want an id as well.
WRK = '''
local bodies, n = {}, 0
for line in io.lines("BODIES") do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
request = function()
  n = n + 1
  local body = bodies[n % #bodies + 1]
  if WRAP then body = '{"id":' .. n .. ',"features":' .. body .. '}' end
  return wrk.format("POST", "PATH", headers, body)
end
'''


def make_model():
    import joblib
    import pandas as pd
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    os.makedirs(WORK, exist_ok=True)
    x, y = make_classification(20_000, N_FEATURES, n_informative=15, weights=[0.95], random_state=1)
    names = [f"f{i}" for i in range(N_FEATURES)]
    table = pd.DataFrame(x, columns=names)
    forest = RandomForestClassifier(n_estimators=100, random_state=1).fit(table, y)
    joblib.dump(forest, os.path.join(WORK, "forest.pkl"))
    sys.path.insert(0, os.path.dirname(EXPORTER))
    import export_scikit_learn as exporter

    exported = exporter.export_model(forest, rows=x[:N_ROWS])
    with open(os.path.join(WORK, "forest.json"), "w") as file:
        json.dump(exported, file)
    rows = table.iloc[:N_ROWS].to_dict("records")
    with open(os.path.join(WORK, "bodies.txt"), "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with open(os.path.join(WORK, "flask_service.py"), "w") as file:
        file.write(FLASK)
    return rows


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def post(url, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def start(command, probe):
    """A server that answers; its process group ends with it."""
    log = open(os.path.join(WORK, os.path.basename(command[0]) + ".log"), "w")
    server = subprocess.Popen(command, cwd=WORK, stdout=log, stderr=log, start_new_session=True)
    for _ in range(600):
        try:
            probe()
            return server
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    stop(server)
    raise SystemExit(f"{command[0]} did not start; see {log.name}")


def stop(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def load(port, path, wrapped, args):
    script = os.path.join(WORK, "ours.lua" if wrapped else "flask.lua")
    with open(script, "w") as file:
        text = WRK.replace("BODIES", os.path.join(WORK, "bodies.txt")).replace("PATH", path)
        file.write(text.replace("WRAP", "true" if wrapped else "false"))
    out = subprocess.run(
        ["wrk", "-t1", f"-c{args.connections}", f"-d{args.seconds}s", "--timeout", "30s", "--latency", "-s", script,
         f"http://127.0.0.1:{port}"],
        capture_output=True, text=True, check=True,
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(out)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return rate, float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[unit]


def build():
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run(
        [cargo, "build", "--release", "--example", "http_service", "--features", "http"],
        cwd=ROOT, check=True,
    )


def compare(args):
    rows = make_model()
    ours_port, flask_port = free_port(), free_port()
    ours_url = f"http://127.0.0.1:{ours_port}/predict/card-fraud"
    flask_url = f"http://127.0.0.1:{flask_port}/predict/forest"
    gunicorn = os.path.join(os.path.dirname(sys.executable), "gunicorn")
    ours = start([EXAMPLE, f"127.0.0.1:{ours_port}", os.path.join(WORK, "forest.json")],
                 lambda: post(ours_url, {"id": 1, "features": rows[0]}))
    flask = start([gunicorn, "--preload", "-w", "2", "-b", f"127.0.0.1:{flask_port}", "flask_service:app"],
                  lambda: post(flask_url, rows[0]))
    try:
        for i, row in enumerate(rows):
            one = post(ours_url, {"id": i, "features": row})["score"]
            other = post(flask_url, row)["probability"][1]
            if one != other:
                raise SystemExit(f"row {i}: ours says {one}, scikit-learn {other}")
        print(f"{len(rows)} rows: the same probabilities, bit for bit")
        print(f"{'':8}{'requests/s':>12}{'p99':>12}")
        best = {}
        for _ in range(args.rounds):
            for name, port, path, wrapped in [
                ("ours", ours_port, "/predict/card-fraud", True),
                ("flask", flask_port, "/predict/forest", False),
            ]:
                rate, p99 = load(port, path, wrapped, args)
                print(f"{name:8}{rate:12.0f}{p99 * 1e3:10.2f}ms")
                before = best.get(name, (0.0, float("inf")))
                best[name] = (max(rate, before[0]), min(p99, before[1]))
    finally:
        stop(ours)
        stop(flask)
    (ours_rate, ours_p99), (flask_rate, flask_p99) = best["ours"], best["flask"]
    print(f"best: {ours_rate:.0f} and {flask_rate:.0f} requests/s, ratio {ours_rate / flask_rate:.0f}; "
          f"p99 {ours_p99 * 1e3:.2f} and {flask_p99 * 1e3:.2f} ms, ratio {flask_p99 / ours_p99:.0f}")


def fuzz():
    port = free_port()
    os.makedirs(WORK, exist_ok=True)
    url = f"http://127.0.0.1:{port}/openapi.json"
    server = start([EXAMPLE, f"127.0.0.1:{port}"], lambda: urllib.request.urlopen(url, timeout=5).read())
    checks = ("not_a_server_error,status_code_conformance,content_type_conformance,"
              "response_schema_conformance,response_headers_conformance,unsupported_method")
    tool = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    try:
        return subprocess.run(
            [tool, "run", url, "--checks", checks, "--max-examples", "300", "--seed", "1",
             "--workers", "1"], cwd=WORK,
        ).returncode
    finally:
        stop(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--fuzz", action="store_true")
    arguments = parser.parse_args()
    build()
    sys.exit(fuzz() if arguments.fuzz else compare(arguments))
