# Measures many zones; scripts/zones says what and calls this: zones.py FOLDER NUMBER…
import glob, gzip, os, shutil, signal, socket, subprocess, sys, threading, time, urllib.request

from loopback import ask_soa, free_port

TICK = os.sysconf("SC_CLK_TCK")
REST = int(os.environ.get("OFFLINE_KSK_REST", "60"))
PERIOD = os.environ.get("OFFLINE_KSK_PERIOD", "30d")
# Longest time for which a program is waited for.
LIMIT = 3600
POLICY = """dnssec-policy p {
  offline-ksk yes;
  keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };
};
"""
ZONE = """$ORIGIN {name}.
$TTL 3600
@ SOA ns1 hostmaster 1 7200 900 1209600 600
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
mail A 192.0.2.3
"""
COLUMNS = ["program", "zones", "done after, s", "CPU, s", "memory, KiB", "KiB a zone", "CPU at rest, %", "/metrics, octets", "s",
           "gzip, octets", "s", "fleet page, octets", "s", "reload, s", "stop, s"]


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout


def wait(what, is_done):
    """Seconds until it is so."""
    start = time.monotonic()
    while not is_done():
        if time.monotonic() - start > LIMIT:
            sys.exit(f"{what}: not after {LIMIT} s")
        time.sleep(0.02)
    return time.monotonic() - start


class Site:
    """The files of some zones, and of some more that a reload adds."""

    def __init__(self, folder, count):
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.count = folder, count
        self.names = [f"z{n}.example" for n in range(count + max(1, min(100, count // 10)))]
        self.dns, self.http, self.requests = free_port(), free_port(), free_port()
        for name in ("state/keys", "state/inbox", "text", "ksk", "mould"):
            os.makedirs(self.path(name), 0o750)
        self.write("named.conf", POLICY)
        ksks, zsks = self.make_keys("-o"), self.make_keys()
        for name in self.names:
            self.write(f"text/{name}", ZONE.replace("{name}", name))
            for keys, folder in ((ksks, "ksk"), (zsks, "state/keys")):
                for file, text in keys:
                    path = self.write(f"{folder}/{file.replace('z0.example', name)}", text.replace("z0.example", name))
                    os.chmod(path, 0o600)
        record = next(line for file, text in ksks if file.endswith(".key") for line in text.splitlines() if not line.startswith(";"))
        self.anchor = record
        self.config(count)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def make_keys(self, *options):
        """The files of the keys of the first zone."""
        run("ksr-gen", "-k", "p", "-l", self.path("named.conf"), *options, "-K", self.path("mould"), "-i", "now-2d", "-e", "+1y",
            "keygen", "z0.example")
        files = []
        for path in glob.glob(self.path("mould/K*")):
            files.append((os.path.basename(path), open(path).read()))
            os.remove(path)
        return files

    def config(self, count):
        text = (f'version = 1\nstate-dir = "{self.path("state")}"\nnamed-conf = "{self.path("named.conf")}"\n'
                f'[loader]\ncoverage-info = "9d"\ncoverage-warning = "6d"\n[ksr]\nenabled = true\nlead = "10d"\nperiod = "{PERIOD}"\n[signer]\nlisten = ["127.0.0.1:{self.dns}"]\n'
                f'[metrics]\nlisten = "127.0.0.1:{self.http}"\nrequests-listen = "127.0.0.1:{self.requests}"\n')
        for name in self.names[:count]:
            anchor = self.anchor.replace("z0.example", name)
            text += f'[[zone]]\nname = "{name}"\npolicy = "p"\nfile = "{self.path("text")}/{name}"\ntrust-anchors = ["{anchor}"]\n'
        self.write("new.toml", text)
        os.replace(self.path("new.toml"), self.path("offline-ksk.toml"))

    def requests_of(self, names):
        return [f for name in names for f in glob.glob(self.path(f"state/outbox/{name}./*.ksr"))]

    def merge(self, to, names):
        with open(self.path(to), "wb") as out:
            for file in self.requests_of(names):
                out.write(open(file, "rb").read())

    def sign(self, what):
        """Signs the requests in `what`.ksr; gives seconds, CPU seconds and the largest memory."""
        start = time.monotonic()
        process = subprocess.Popen(["ksr-gen", "-k", "p", "-l", self.path("named.conf"), "-K", self.path("ksk"), "-e", "+" + PERIOD, "-f",
                                    self.path(what + ".ksr"), "-O", self.path(what + ".skr"), "sign", "--all"],
                                   stdout=subprocess.DEVNULL, stderr=open(self.path("sign.log"), "w"))
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"sign --all: {status}: " + open(self.path("sign.log")).read()[-2000:])
        return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss

    def drop(self, what):
        # As one that was brought here: a file that was written just now may still grow.
        an_hour_ago = time.time() - 3600
        os.utime(self.path(what + ".skr"), (an_hour_ago, an_hour_ago))
        os.rename(self.path(what + ".skr"), self.path(f"state/inbox/{what}.skr"))

    def inbox_is_empty(self):
        return not os.listdir(self.path("state/inbox"))

    def generation(self, name):
        try:
            return int(open(self.path(f"state/accepted/{name}./current")).read().split()[0])
        except OSError:
            return 0

    def answers(self, name):
        said = ask_soa(self.dns, name, 0.2)
        return said is not None and said[0] == 0 and said[1] > 0

    def until_served(self, names):
        left = list(names)

        def is_done():
            # One after the other: the daemon has better things to do than to answer that it is not ready.
            while left and self.answers(left[-1]):
                left.pop()
            return not left
        return wait("all zones are served", is_done)


class Daemon:
    """A program at work, as the service manager sees it."""

    def __init__(self, site, port, *words):
        self.site, self.port, self.gap, self.last = site, port, 0.0, time.monotonic()
        address = site.path("notify")
        if os.path.exists(address):
            os.remove(address)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.ready = threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        self.log = site.path(words[-1].replace("/", "-") + ".log")
        self.process = subprocess.Popen([*words, "-c", site.path("offline-ksk.toml")], stderr=open(self.log, "w"),
                                        env={**os.environ, "RUST_LOG": "warn", "NOTIFY_SOCKET": address})
        self.pid = self.process.pid

    def listen(self):
        while True:
            text = self.socket.recv(4096)
            if b"READY=1" in text:
                self.ready.set()
            if b"WATCHDOG=1" in text:
                now = time.monotonic()
                self.gap, self.last = max(self.gap, now - self.last), now

    def cpu(self):
        fields = open(f"/proc/{self.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self, field="VmRSS"):
        return next(int(l.split()[1]) for l in open(f"/proc/{self.pid}/status") if l.startswith(field))

    def rest(self):
        time.sleep(3)
        before = self.cpu()
        time.sleep(REST)
        return (self.cpu() - before) / REST * 100

    def scrape(self):
        """Octets and seconds of /metrics, plain and with gzip, and of the fleet page; the best of three."""
        def get(path, encoding):
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept-Encoding": encoding})
            start = time.monotonic()
            octets = urllib.request.urlopen(request, timeout=60).read()
            return time.monotonic() - start, len(octets)
        figures = []
        for path, encoding in (("/metrics", "identity"), ("/metrics", "gzip"), ("/?order=name", "identity")):
            took, octets = min(get(path, encoding) for _ in range(3))
            figures += [str(octets), f"{took:.3f}"]
        return figures

    def reload(self):
        self.site.config(len(self.site.names))
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(300)
        return time.monotonic() - start


def row(program, zones, wall, cpu, memory, rest="", scrape=("",) * 6, reload="", stop=""):
    show = lambda value: f"{value:.2f}" if isinstance(value, float) else str(value)
    cells = [program, zones, wall, cpu, memory, f"{memory / zones:.0f}", rest, *scrape, reload, stop]
    print("| " + " | ".join(show(cell) for cell in cells) + " |", flush=True)


def requests(site):
    first, more = site.names[:site.count], site.names[site.count:]
    daemon = Daemon(site, site.requests, "offline-ksk", "requests")
    wall = wait("all requests are written", lambda: len(site.requests_of(first)) == len(first))
    cpu, rest, memory, scrape = daemon.cpu(), daemon.rest(), daemon.memory(), daemon.scrape()
    daemon.reload()
    reload = wait("the requests of more zones are written", lambda: len(site.requests_of(more)) == len(more))
    row("requests", site.count, wall, cpu, memory, rest, scrape, reload, daemon.stop())
    site.merge("all.ksr", first)
    site.merge("more.ksr", more)
    site.merge("urgent.ksr", first[-1:])


def sign(site):
    row("sign --all", site.count, *site.sign("all"))
    site.sign("more")
    site.sign("urgent")


def loader(site):
    site.config(site.count)
    daemon = Daemon(site, site.http, "skr-loader", "run")
    daemon.ready.wait(LIMIT)
    started, start = daemon.cpu(), time.monotonic()
    daemon.gap, daemon.last = 0.0, start
    site.drop("all")
    urgent, status = None, 0.0
    # A tenth of the zones is done when the urgent file comes, of the zone that the file of all has last.
    wait("some zones are accepted", lambda: site.generation(site.names[(site.count - 1) // 10]))
    if not site.generation(site.names[site.count - 1]):
        site.drop("urgent")
        urgent = wait("the urgent file is accepted", lambda: site.generation(site.names[site.count - 1]))
    while not site.inbox_is_empty():
        asked = time.monotonic()
        subprocess.run(["skr-loader", "status", "-c", site.path("offline-ksk.toml"), "z0.example"], stdout=subprocess.DEVNULL)
        status = max(status, time.monotonic() - asked)
        time.sleep(0.2)
    wall, cpu, peak = time.monotonic() - start, daemon.cpu() - started, daemon.memory("VmHWM")
    gap = daemon.gap
    rest, memory, scrape = daemon.rest(), daemon.memory(), daemon.scrape()
    site.config(len(site.names))
    begin = time.monotonic()
    run("skr-loader", "reload", "-c", site.path("offline-ksk.toml"))
    reload = time.monotonic() - begin
    site.drop("more")
    wait("more zones are accepted", site.inbox_is_empty)
    row("skr-loader run", site.count, wall, cpu, memory, rest, scrape, reload, daemon.stop())
    words = f"at most {peak} KiB, the watchdog was fed every {gap:.1f} s or sooner, a status took at most {status:.2f} s"
    if urgent is not None:
        words += f", an urgent file of one zone was accepted after {urgent:.2f} s"
    return f"skr-loader run, a file of {site.count} zones: {words}."


def serve(site):
    first, more = site.names[:site.count], site.names[site.count:]
    site.config(site.count)
    daemon = Daemon(site, site.http, "offline-ksk", "serve")
    wall = site.until_served(first)
    cpu, rest, memory, scrape = daemon.cpu(), daemon.rest(), daemon.memory(), daemon.scrape()
    daemon.reload()
    reload = site.until_served(more)
    row("serve", site.count, wall, cpu, memory, rest, scrape, reload, daemon.stop())
    daemon = Daemon(site, site.http, "offline-ksk", "serve")
    wall = site.until_served(site.names)
    again = ("serve again", site.count, wall, daemon.cpu(), daemon.memory())
    stop = daemon.stop()
    # In the midst of the start, and where the start fails late: the port is taken.
    daemon = Daemon(site, site.http, "offline-ksk", "serve")
    wait("the start is under way", lambda: daemon.cpu() > 0.1 or daemon.ready.is_set())
    midst = daemon.stop()
    site.http = free_port()
    site.config(len(site.names))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.http))
        taken.listen()
        start = time.monotonic()
        Daemon(site, site.http, "offline-ksk", "serve").process.wait(300)
        failed = time.monotonic() - start
    row(*again, stop=max(stop, midst))
    return f"serve, {site.count} zones: a start that fails because the port of /metrics is taken ends after {failed:.2f} s."


class Secondary:
    """Acknowledges each NOTIFY, and has what it was told of."""

    def __init__(self):
        self.told, self.socket = {}, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            end = query.index(b"\0", 12) + 5
            name, opcode = query[12:end - 4], query[2] >> 3 & 15
            head = query[:2] + bytes([query[2] | 0x84, 0, 0, 1])
            if opcode == 4:
                self.told[name] = query[end:]
                self.socket.sendto(head + b"\0\0\0\0\0\0" + query[12:end], client)
            elif name in self.told:
                # The SOA record of the NOTIFY message: its names are where they were.
                self.socket.sendto(head + b"\0\1\0\0\0\0" + query[12:end] + self.told[name], client)


def catalog(site):
    """All zones come by a catalog and are signed, served and told of."""
    first, secondary = site.names[:site.count], Secondary()
    shutil.rmtree(site.path("state/zones"))
    anchor = site.anchor.replace("z0.example.", "{zone}")
    site.write("template.toml", f'[[zone]]\nname = "{{zone}}"\npolicy = "p"\nfile = "text/{{file}}"\ntrust-anchors = ["{anchor}"]\n')
    site.write("new.toml", f'version = 1\nstate-dir = "state"\nnamed-conf = "named.conf"\n[ksr]\nenabled = false\n[signer]\nlisten = ["127.0.0.1:{site.dns}"]\n'
               f'[metrics]\nlisten = "127.0.0.1:{site.http}"\n[transfer]\nallow-transfer = [{{ address = "127.0.0.1" }}]\nnotify = ["127.0.0.1:{secondary.port}"]\n'
               '[[catalog]]\nzone = "catalog.test"\nfile = "catalog.zone"\ntemplate = "template.toml"\n')
    os.replace(site.path("new.toml"), site.path("offline-ksk.toml"))
    head = '@ 0 SOA invalid. invalid. {serial} 3600 600 2147483646 0\n@ 0 NS invalid.\nversion 0 TXT "2"\n'
    site.write("catalog.zone", head.format(serial=1))
    daemon = Daemon(site, site.http, "offline-ksk", "serve")
    daemon.ready.wait(LIMIT)
    before = daemon.cpu()
    site.write("new.zone", head.format(serial=2) + "".join(f"m{n}.zones 0 PTR {name}.\n" for n, name in enumerate(first)))
    start = time.monotonic()
    os.replace(site.path("new.zone"), site.path("catalog.zone"))
    wait("the secondary is told of all zones", lambda: len(secondary.told) == site.count)
    told = time.monotonic() - start
    site.until_served(first)
    wall = time.monotonic() - start
    row("serve, by a catalog", site.count, wall, daemon.cpu() - before, daemon.memory(), stop=daemon.stop())
    return f"a catalog with {site.count} zones: the secondary was told of all after {told:.2f} s, and all were served after {wall:.2f} s."


def main():
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    said = []
    for count in map(int, sys.argv[2:]):
        site = Site(os.path.join(sys.argv[1], "site"), count)
        requests(site)
        sign(site)
        said += [loader(site), serve(site), catalog(site)]
    print("\n" + "\n".join(said), flush=True)


if __name__ == "__main__":
    main()
