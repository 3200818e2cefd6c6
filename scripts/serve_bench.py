# Measures what an answer costs; scripts/serve-bench says what and calls this: serve_bench.py FOLDER ECHO-PROGRAM HICKORY-PROGRAM PART…
import glob, os, re, resource, signal, socket, statistics, subprocess, sys, time

from bench_table import head, line, note, run_parts
from loopback import free_port
from serve_site import NAMES, ZONES, Failed, Server, Site, configuration, drop, knot, nsd, ours, run

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
# Names of the zone that is signed while answers are timed, and of that of the engine alone.
MANY = int(os.environ.get("MANY", "1000000"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "10000"))
# Row: file of queries, options of dnsperf, most that ours may cost of what the better peer does, and the same above a bare echo.
ROWS = {
    "mix": ("mix", [], 0.80, None),
    "positive": ("positive", [], 0.80, None),
    "NXDOMAIN, NSEC": ("nxdomain", [], 0.90, 0.50),
    "NXDOMAIN, NSEC3": ("nxdomain3", [], 0.90, 0.50),
    "mix, 16 clients": ("mix", ["-c", "16"], None, None),
    "mix, 20 000 queries a second": ("mix", ["-Q", "20000"], None, None),
    "mix, TCP, pipelined": ("mix", ["-m", "tcp"], 0.80, None),
    "mix, TCP, one at a time": ("mix", ["-m", "tcp", "-q", "1"], None, None),
    "mix, DoT, pipelined": ("mix", ["-m", "dot"], 0.80, None),
}
# The same, for two workers; the cores are those of the servers.
TWO_WORKERS = ("mix", ["-c", "16", "-T", "2"], None, None)


def medians(rounds, value):
    return statistics.median(value(runs) for runs in rounds)


# Queries that are outstanding at once.
OUTSTANDING = 100
# Measurements of one row and server: one in which more answers were lost than are outstanding at its end, since a busy machine did not let the client
# or the server run for seconds, is made again.
TRIES = 3


def ask(site, server, file, *options, cores="1", seconds=SECONDS):
    """What dnsperf says when it has asked."""
    port = server.tls if "dot" in options else server.port
    pinned = ["taskset", "-c", cores] if cores else []
    return run(*pinned, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-e", "-D", "-l", str(seconds), "-q", str(OUTSTANDING), "-b", "1024",
               "-d", site.path(file), *options, stderr=subprocess.DEVNULL)


class Run:
    """One measurement: CPU a query in microseconds, answers a second, response codes, octets of an answer."""

    def __init__(self, site, server, row):
        for attempt in range(TRIES):
            self.measure(site, server, row)
            # What is outstanding at the end may be late; the echo answers queries that came before it was ready for none.
            if self.lost <= OUTSTANDING or not server.checks:
                return
        raise Failed(f"{row}: {server.name} lost {self.lost:.0f} of {self.completed:.0f} queries, in the last of {TRIES} tries")

    def measure(self, site, server, row):
        file, options, _, _ = ROWS.get(row, TWO_WORKERS)
        cpu = server.cpu()
        text = ask(site, server, file, *options, cores="1" if row in ROWS else "0,1")
        cpu = server.cpu() - cpu
        number = lambda pattern: float(re.search(pattern, text)[1])
        self.completed = number(r"Queries completed:\s+(\d+)")
        self.lost = number(r"Queries lost:\s+(\d+)")
        self.rate = number(r"Queries per second:\s+([\d.]+)")
        self.octets = number(r"Average packet size:.*response (\d+)")
        self.rcodes = {code: int(count) / self.completed for code, count in re.findall(r"(\w+) (\d+) \(", text)}
        self.cpu = cpu / self.completed * 1e6


def compare(row, runs):
    """Ends the program when the servers do not say the same to the same queries."""
    _, first = next((name, r) for name, r in runs.items() if name != "echo")
    for name, r in runs.items():
        if name == "echo":
            continue
        # The servers get other numbers of queries of one file: shares differ by chance, less so the more there are.
        spread = 0.01 + 3 / min(r.completed, first.completed) ** 0.5
        codes = set(r.rcodes) | set(first.rcodes)
        if any(abs(r.rcodes.get(code, 0) - first.rcodes.get(code, 0)) > spread for code in codes):
            raise Failed(f"{row}: {name} answers {r.rcodes}, others {first.rcodes}")


def cost(site, programs):
    """CPU of an answer, by row, beside the peers and an echo."""
    servers = [ours(site), nsd(site), knot(site)]
    try:
        for server in servers:
            server.wait()
        rows = os.environ["ROWS"].split(";") if os.environ.get("ROWS") else list(ROWS)
        head("µs of CPU a query", "ours", "NSD", "Knot", "echo", "ours / better peer", "above the echo / better peer's", "octets: ours, NSD, Knot",
             "answers a second: ours, NSD, Knot")
        for row in rows:
            cost_of_row(site, servers, programs[0], row)
    finally:
        stop(servers)


def cost_of_row(site, servers, echo, row):
    rounds = []
    for _ in range(ROUNDS):
        runs = {server.name: Run(site, server, row) for server in servers}
        compare(row, runs)
        if "-m" not in ROWS[row][1]:
            port = free_port()
            bare = Server("echo", port, [echo, f"127.0.0.1:{port}", str(int(runs["ours"].octets))])
            bare.wait()
            runs["echo"] = Run(site, bare, row)
            bare.stop()
        rounds.append(runs)
    median = lambda value: medians(rounds, value)
    cpu = {name: median(lambda runs: runs[name].cpu) for name in rounds[0]}
    peers = lambda runs: min(runs["NSD"].cpu, runs["Knot"].cpu)
    ratio = median(lambda runs: runs["ours"].cpu / peers(runs))
    _, _, most, most_above = ROWS[row]
    if most:
        note(f"CPU a query, ours / better peer: {row}", ratio, most)
    above = ""
    if "echo" in cpu:
        share = median(lambda runs: (runs["ours"].cpu - runs["echo"].cpu) / max(peers(runs) - runs["echo"].cpu, 0.01))
        above = f"{share:.2f}"
        if most_above:
            note(f"the same above a bare echo: {row}", share, most_above)
    each = lambda value: ", ".join(f"{median(lambda runs: value(runs[name])):.0f}" for name in ("ours", "NSD", "Knot"))
    line(row, *(f"{cpu[name]:.2f}" if name in cpu else "" for name in ("ours", "NSD", "Knot", "echo")), f"{ratio:.2f}", above,
         each(lambda r: r.octets), each(lambda r: r.rate))


def hickory(site, programs):
    """CPU of a positive answer through SignerHandler in hickory's own server, beside a handler that does nothing but answer."""
    servers = [ours(site, ZONES[:1])]
    try:
        # The signer alone takes no SKR: the state that it begins with is that of our server.
        servers[0].wait()
        servers.pop().stop()
        config = configuration(site, ZONES[:1], free_port())
        for name in ("signer", "minimal"):
            port = free_port()
            server = Server(name, port, [programs[1], config, f"127.0.0.1:{port}", name], zones=ZONES[:1])
            servers.append(server)
            server.wait()
        rounds = [{server.name: Run(site, server, "positive") for server in servers} for _ in range(ROUNDS)]
        for runs in rounds:
            compare("in hickory's server", runs)
        ratio = medians(rounds, lambda runs: runs["signer"].cpu / runs["minimal"].cpu)
        head("in hickory's server, positive: µs of CPU a query", "SignerHandler", "minimal handler", "ratio", "octets")
        line("one UDP socket", *(f"{medians(rounds, lambda runs: runs[name].cpu):.2f}" for name in ("signer", "minimal")), f"{ratio:.2f}",
             ", ".join(f"{medians(rounds, lambda runs: runs[name].octets):.0f}" for name in ("signer", "minimal")))
        note("in hickory's server, SignerHandler / minimal handler", ratio, 1.10)
    finally:
        stop(servers)


def workers(site, _):
    """Answers a second of two workers on two cores, where dnsperf with two threads runs as well."""
    if os.cpu_count() < 2:
        raise Failed("there is one core")
    rounds = []
    for _ in range(ROUNDS):
        runs = {}
        # One at a time: the threads of the others would be on the same cores.
        for start in (lambda: ours(site, cores="0,1"), lambda: nsd(site, workers=2), lambda: knot(site, workers=2)):
            server = start()
            try:
                server.wait()
                runs[server.name] = Run(site, server, "two workers")
            finally:
                stop([server])
        compare("two workers", runs)
        rounds.append(runs)
    ratio = medians(rounds, lambda runs: runs["ours"].rate / runs["NSD"].rate)
    head("two workers and dnsperf on two cores, mix: answers a second", "ours", "NSD", "Knot", "ours / NSD")
    line("16 clients", *(f"{medians(rounds, lambda runs: runs[name].rate):.0f}" for name in ("ours", "NSD", "Knot")), f"{ratio:.2f}")
    note("two workers on two cores, answers a second: ours / NSD", ratio, 1.25, is_least=True)


def memory(site, _):
    """Memory with one signed zone, and what idle TCP connections add to it."""
    zone = ZONES[:1]
    head("memory with one zone, MiB", "ours, first start", "ours, restarted", "Knot", "NSD", "an idle TCP connection of ours, KiB")
    figures = []
    for start in (ours, ours, knot, nsd):
        server = start(site, zone)
        try:
            server.wait()
            # What the start has taken and given back.
            time.sleep(3)
            figures.append(server.memory())
            if len(figures) == 1:
                connection = idle_connections(server)
        finally:
            stop([server])
    line(f"{NAMES} names, NSEC", *(f"{figure:.0f}" for figure in figures), f"{connection:.1f}")
    note(f"memory, {NAMES} names signed", figures[0], 80, unit=" MiB", digits=0)
    note("the same, restarted", figures[1], 80, unit=" MiB", digits=0)
    note("an idle TCP connection", connection, 10, unit=" KiB", digits=1)


def idle_connections(server):
    """Opens connections from many networks, each of which asks once; gives KiB of the server's memory for each."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(CONNECTIONS, most * 3 // 4)
    query = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(l)]) + l.encode() for l in ZONES[0].split(".")) + b"\0\0\6\0\1"
    before, connections = server.memory(), []
    sockets_before = sum(os.readlink(fd).startswith("socket:") for fd in glob.glob(f"/proc/{server.process.pid}/fd/*"))
    for n in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), 5, (f"127.{1 + n // 500}.0.{1 + n % 250}", 0))
        connection.sendall(len(query).to_bytes(2, "big") + query)
        connections.append(connection)
    # Those that the server has accepted and not closed, while the others were opened.
    is_socket = lambda fd: os.readlink(fd).startswith("socket:")
    open_now = sum(map(is_socket, glob.glob(f"/proc/{server.process.pid}/fd/*"))) - sockets_before
    kib = (server.memory() - before) * 1024 / max(open_now, 1)
    print(f"{open_now} of {count} TCP connections are open, each after one query", file=sys.stderr)
    for connection in connections:
        connection.close()
    if open_now < count * 9 // 10:
        raise Failed(f"of {count} TCP connections {open_now} stayed open until they were counted")
    return kib


def latency(site, _):
    """Time of an answer at 1 000 queries a second, while the server rests, a large zone is signed, and a zone is replaced."""
    big = "big.nsec.example"
    site.add(big, "nsec", site.zone_text(big, MANY))
    server = ours(site, ZONES[:1], cores=None)
    try:
        server.wait()
        is_first = os.geteuid() == 0
        head("time of an answer at 1 000 a second, ms; the client runs " + ("before all others" if is_first else "as all others"),
             "median", "p99", "largest", "queries", "lost")
        client = Client(site, server, is_first)
        with client:
            time.sleep(5)
        client.tell("at rest", [(0, 1e12)])

        # The server reads the zone's configuration, and signs the zone when there is an SKR for it: until then SERVFAIL.
        configuration(site, [ZONES[0], big], server.port, server.tls)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("does not know a new zone", lambda: (server.ask(big) or [0])[0] == 2)
        time.sleep(1)
        client = Client(site, server, is_first)
        with client:
            begun = time.monotonic()
            drop(site, [big])
            server.wait_for("does not sign a large zone", lambda: server.answers(big))
            signed = (begun, time.monotonic())
        client.tell(f"while {MANY} names are signed and checked", [signed], limit=2)

        texts = [site.zone_text(ZONES[0], NAMES - NAMES // 100 * (n % 2), serial=1000 * n) for n in range(1, 11)]
        client, windows = Client(site, server, is_first), []
        with client:
            for text in texts:
                begun, serial = time.monotonic(), server.ask(ZONES[0])[2]
                os.rename(site.write("next.zone", text), site.path(ZONES[0]))
                server.wait_for("does not take a new zone file", lambda: (server.ask(ZONES[0]) or [0, 0, 0])[2] > serial)
                windows.append((begun, time.monotonic() + 0.1))
        client.tell(f"while a zone of {NAMES} names is replaced, from the file to the first answer, {len(windows)} times", windows, limit=2)
    finally:
        stop([server])


class Client:
    """Asks 1 000 times a second as long as it is entered; it runs before others where the system allows it, so that its own waiting for a core
    is not counted."""

    def __init__(self, site, server, is_first):
        first = ["chrt", "-f", "1"] if is_first else []
        self.command = [*first, sys.executable, os.path.join(os.path.dirname(__file__), "serve_client.py"), str(server.port), site.path("mix")]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)

    def __exit__(self, *_):
        self.process.terminate()
        self.lines = [line.split() for line in self.process.communicate()[0].splitlines()]

    def tell(self, work, windows, limit=None):
        """A row of the queries that were sent in these times."""
        inside = [took for at, took in self.lines if any(begin <= float(at) <= end for begin, end in windows)]
        times = sorted(float(took) * 1000 for took in inside if took != "lost")
        lost = len(inside) - len(times)
        if not times:
            raise Failed(f"{work}: no query was answered")
        at = lambda share: times[min(int(len(times) * share), len(times) - 1)]
        line(work, f"{at(0.5):.2f}", f"{at(0.99):.2f}", f"{times[-1]:.2f}", len(inside), lost)
        if limit:
            note(f"p99 {work}", at(0.99), limit, unit=" ms")
        if lost:
            raise Failed(f"{work}: {lost} queries were lost")


def engine(_, __):
    """Time of an answer of the engine alone, by criterion."""
    limits = {"NSEC/positive": 0.6, "NSEC/no such name": 1.2, "NSEC3/no such name": 1.8}
    text = run("cargo", "bench", "--quiet", "--locked", "-p", "offline-ksk-signer-plugin", "--bench", "answer", "--",
               f"^{MANY} names, ({'|'.join(limits)})$", env={**os.environ, "NAMES": str(MANY)}, stderr=subprocess.DEVNULL)
    head(f"engine alone, {MANY} names, µs", "an answer")
    for name, limit in limits.items():
        middle, unit = re.search(rf"names, {name}\s+time:\s+\[[\d.]+ .s ([\d.]+) (.s)", text).groups()
        answer = float(middle) * {"ns": 0.001, "µs": 1, "ms": 1000}[unit]
        line(name, f"{answer:.2f}")
        note(f"engine alone, {MANY} names: {name}", answer, limit, unit=" µs")


def stop(servers):
    for server in servers:
        server.stop()


# Memory comes first: later parts find the zone signed on the disk.
PARTS = {"memory": memory, "cost": cost, "hickory": hickory, "workers": workers, "latency": latency, "engine": engine}


def main():
    folder, *programs = sys.argv[1:4]
    parts = sys.argv[4:] or list(PARTS)
    if any(part not in PARTS for part in parts):
        sys.exit(f"there are the parts {', '.join(PARTS)}")
    site = Site(folder) if parts != ["engine"] else None
    run_parts(parts, lambda part: PARTS[part](site, programs), (Failed,))


main()
