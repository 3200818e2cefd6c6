# Measures what an answer costs; scripts/serve-bench says what and calls this: serve_bench.py FOLDER ECHO-PROGRAM
import glob, os, random, re, resource, signal, socket, statistics, subprocess, sys, time

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "3"))
NAMES = int(os.environ.get("NAMES", "100000"))
PEERS = os.environ["OFFLINE_KSK_PEERS"]
POLICIES = """dnssec-policy nsec {
  offline-ksk yes;
  keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };
};
dnssec-policy nsec3 {
  offline-ksk yes;
  keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };
  nsec3param iterations 0 optout no salt-length 0;
};
"""
ZONES = ["nsec.example", "nsec3.example"]
# Row: file of queries, options of dnsperf.
ROWS = {
    "mix": ("mix", []),
    "positive": ("positive", []),
    "NXDOMAIN, NSEC": ("nxdomain", []),
    "NXDOMAIN, NSEC3": ("nxdomain3", []),
    "mix, 16 clients": ("mix", ["-c", "16"]),
    "mix, 20 000 queries a second": ("mix", ["-Q", "20000"]),
    "mix, TCP, pipelined": ("mix", ["-m", "tcp"]),
    "mix, TCP, one at a time": ("mix", ["-m", "tcp", "-q", "1"]),
}


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Site:
    """Zones, keys and SKRs; the zones signed as files for the peers, and unsigned for us."""

    def __init__(self, folder):
        self.folder, self.ports = folder, {}
        for name in ("state/keys", "state/inbox", "ksk", "nsd", "knot"):
            os.makedirs(self.path(name), 0o750)
        self.write("named.conf", POLICIES)
        toml = ""
        for zone in ZONES:
            policy = zone.split(".")[0]
            common = ["-k", policy, "-l", self.path("named.conf")]
            run("ksr-gen", *common, "-o", "-K", self.path("ksk"), "-i", "now-2d", "-e", "+1y", "keygen", zone)
            run("ksr-gen", *common, "-K", self.path("state/keys"), "-i", "now-2d", "-e", "+1y", "keygen", zone)
            ksr = run("ksr-gen", *common, "-K", self.path("state/keys"), "-i", "now-2d", "-e", "+30d", "request", zone)
            skr = run("ksr-gen", *common, "-K", self.path("ksk"), "-f", self.write(zone + ".ksr", ksr), "-e", "+30d", "sign", zone)
            self.write(zone + ".skr", skr)
            key, = glob.glob(self.path(f"ksk/K{zone}.*.key"))
            anchor = next(line.strip() for line in open(key) if not line.startswith(";"))
            self.write(zone + ".anchor", anchor + "\n")
            self.write(zone, self.zone_text(zone))
            run("offline-ksk", "sign-zone", "--zone", zone, "--skr", self.path(zone + ".skr"), "--trust-anchor", self.path(zone + ".anchor"),
                "--key-directory", self.path("state/keys"), "--policy-file", self.path("named.conf"), "--policy", policy,
                "-o", self.path(zone + ".signed"), self.path(zone))
            toml += (f'[[zone]]\nname = "{zone}"\npolicy = "{policy}"\nfile = "{self.path(zone)}"\ntrust-anchors = ["{anchor}"]\n')
        self.toml = toml
        self.queries()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def zone_text(self, zone):
        lines = [f"$ORIGIN {zone}.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 900 1209600 600\n@ NS ns1\nns1 A 192.0.2.1"]
        for n in range(NAMES):
            lines.append(f"h{n:07} A 10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}\nh{n:07} AAAA 2001:db8::{n >> 16:x}:{n & 65535:x}")
        return "\n".join(lines) + "\n"

    def queries(self):
        chance = random.Random(1)
        host = lambda: f"h{chance.randrange(NAMES):07}"
        positive, no_data = (lambda zone: f"{host()}.{zone} A"), (lambda zone: f"{host()}.{zone} MX")
        no_name = lambda zone: f"{host()}x.{zone} A"
        kinds = {"positive": [positive], "nxdomain": [no_name], "mix": [positive] * 8 + [no_data, no_name]}
        for file, kind in kinds.items():
            self.write(file, "".join(chance.choice(kind)(ZONES[0]) + "\n" for _ in range(200_000)))
        self.write("nxdomain3", "".join(no_name(ZONES[1]) + "\n" for _ in range(200_000)))


class Server:
    def __init__(self, name, port, command):
        self.name, self.port, self.checks = name, port, name != "echo"
        self.process = subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL,
                                        stderr=open(f"{sys.argv[1]}/{name}.log", "w"))

    def processes(self):
        """The process and those that it started."""
        found, more = [], [self.process.pid]
        while more:
            pid = more.pop()
            found.append(pid)
            for task in glob.glob(f"/proc/{pid}/task/*/children"):
                more += [int(child) for child in open(task).read().split()]
        return found

    def cpu(self):
        """Seconds of CPU so far."""
        total = 0
        for pid in self.processes():
            for task in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                total += int(open(task).read().split()[0])
        return total / 1e9

    def memory(self):
        """Proportional share of memory, MiB."""
        fields = [open(f"/proc/{pid}/smaps_rollup").read() for pid in self.processes()]
        return sum(int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) for text in fields) / 1024

    def answers(self, zone):
        query = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(l)]) + l.encode() for l in zone.split(".")) + b"\0\0\6\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.3)
            try:
                s.sendto(query, ("127.0.0.1", self.port))
                reply = s.recv(4096)
            except OSError:
                return False
            return reply[3] & 15 == 0 and (reply[7] > 0 or not self.checks)

    def wait(self):
        deadline = time.monotonic() + 300
        for zone in ZONES:
            while not self.answers(zone):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{self.name} does not answer: " + open(f"{sys.argv[1]}/{self.name}.log").read()[-2000:])
                time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def ours(site):
    port = free_port()
    text = (f'version = 1\nstate-dir = "{site.path("state")}"\nnamed-conf = "{site.path("named.conf")}"\n[ksr]\nenabled = false\n'
            f'[signer]\nlisten = ["127.0.0.1:{port}"]\n{site.toml}')
    site.write("offline-ksk.toml", text)
    for zone in ZONES:
        # As a file that was brought here: one that was written just now may still grow.
        an_hour_ago = time.time() - 3600
        os.utime(site.path(zone + ".skr"), (an_hour_ago, an_hour_ago))
        os.rename(site.path(zone + ".skr"), site.path(f"state/inbox/{zone}.skr"))
    return Server("ours", port, ["offline-ksk", "serve", "-c", site.path("offline-ksk.toml")])


def nsd(site):
    port, folder = free_port(), site.path("nsd")
    zones = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{site.path(zone)}.signed"\n' for zone in ZONES)
    site.write("nsd/nsd.conf",
               f'server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  rrl-ratelimit: 0\n  minimal-responses: yes\n  username: ""\n'
               f'  chroot: ""\n  zonesdir: ""\n  database: ""\n  pidfile: ""\n  xfrdfile: ""\n  zonelistfile: "{folder}/zone.list"\n'
               f'  xfrdir: "{folder}"\nremote-control:\n  control-enable: no\n' + zones)
    return Server("NSD", port, [f"{PEERS}/bin/nsd", "-d", "-c", f"{folder}/nsd.conf"])


def knot(site):
    port, folder = free_port(), site.path("knot")
    zones = "".join(f'  - domain: {zone}\n    file: "{site.path(zone)}.signed"\n' for zone in ZONES)
    site.write("knot/knot.conf",
               f'server:\n  listen: 127.0.0.1@{port}\n  rundir: "{folder}"\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n'
               f'database:\n  storage: "{folder}"\nlog:\n  - target: stderr\n    any: warning\ntemplate:\n  - id: default\n'
               f'    storage: "{folder}"\n    zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\nzone:\n' + zones)
    return Server("Knot", port, [f"{PEERS}/bin/knotd", "-c", f"{folder}/knot.conf"])


# Measurements of one row and server; one in which the client has lost answers, as it did not run for long, is made again.
TRIES = 3


class Run:
    """One measurement: CPU a query in microseconds, answers a second, response codes, octets of an answer."""

    def __init__(self, site, server, row):
        for attempt in range(TRIES):
            self.measure(site, server, row)
            if not self.lost or not server.checks:
                return
        sys.exit(f"{row}: {server.name} lost {self.lost:.0f} of {self.completed:.0f} queries, in the last of {TRIES} tries")

    def measure(self, site, server, row):
        file, options = ROWS[row]
        cpu = server.cpu()
        text = run("taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(server.port), "-e", "-D", "-l", str(SECONDS), "-q", "100", "-b", "1024",
                   "-d", site.path(file), *options, stderr=subprocess.DEVNULL)
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
            sys.exit(f"{row}: {name} answers {r.rcodes}, others {first.rcodes}")


def measure(site, servers, echo):
    rows = os.environ.get("ROWS", "").split(";") if os.environ.get("ROWS") else list(ROWS)
    print(f"| µs of CPU a query | ours | NSD | Knot | echo | ours / better peer | above the echo / better peer's | octets: ours, NSD, Knot | "
          f"answers a second: ours, NSD, Knot |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        rounds = []
        for _ in range(ROUNDS):
            runs = {server.name: Run(site, server, row) for server in servers}
            compare(row, runs)
            if "tcp" not in ROWS[row][1]:
                port = free_port()
                bare = Server("echo", port, [echo, f"127.0.0.1:{port}", str(int(runs["ours"].octets))])
                bare.wait()
                runs["echo"] = Run(site, bare, row)
                bare.stop()
            rounds.append(runs)
        median = lambda value: statistics.median(value(runs) for runs in rounds)
        cpu = {name: median(lambda runs: runs[name].cpu) for name in rounds[0]}
        peers = lambda runs: min(runs["NSD"].cpu, runs["Knot"].cpu)
        ratio = median(lambda runs: runs["ours"].cpu / peers(runs))
        above = ""
        if "echo" in cpu:
            above = f'{median(lambda runs: (runs["ours"].cpu - runs["echo"].cpu) / max(peers(runs) - runs["echo"].cpu, 0.01)):.2f}'
        each = lambda value: ", ".join(f"{median(lambda runs: value(runs[name])):.0f}" for name in ("ours", "NSD", "Knot"))
        cells = [row, *(f"{cpu[name]:.2f}" if name in cpu else "" for name in ("ours", "NSD", "Knot", "echo")), f"{ratio:.2f}", above,
                 each(lambda r: r.octets), each(lambda r: r.rate)]
        print("| " + " | ".join(cells) + " |", flush=True)


def idle_connections(server):
    """Opens connections from many networks, each of which asks once; says what each takes of the server's memory."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(10_000, most * 3 // 4) * 9 // 10
    query = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(l)]) + l.encode() for l in ZONES[0].split(".")) + b"\0\0\6\0\1"
    before, connections = server.memory(), []
    for n in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), 5, (f"127.{1 + n // 500}.0.{1 + n % 250}", 0))
        connection.sendall(len(query).to_bytes(2, "big") + query)
        connections.append(connection)
    for connection in connections[-100:]:
        if not connection.recv(4096):
            sys.exit(f"{server.name} has closed a connection")
    kib = (server.memory() - before) * 1024 / count
    print(f"{count} idle TCP connections, each after one query: {kib:.1f} KiB each")
    for connection in connections:
        connection.close()


def main():
    site = Site(sys.argv[1])
    servers = [ours(site), nsd(site), knot(site)]
    try:
        for server in servers:
            server.wait()
        measure(site, servers, sys.argv[2])
        print("memory, MiB: " + ", ".join(f"{server.name} {server.memory():.0f}" for server in servers))
        idle_connections(servers[0])
    finally:
        for server in servers:
            server.stop()


main()
