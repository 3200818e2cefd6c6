# Zones, keys and SKRs, and the servers that scripts/serve-bench and scripts/transfer-bench measure with them.
import glob, os, random, re, signal, subprocess, sys, time

from loopback import ask_soa, free_port

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
dnssec-policy tld {
  offline-ksk yes;
  keys { ksk lifetime unlimited algorithm ecdsap256sha256; zsk lifetime unlimited algorithm ecdsap256sha256; };
  nsec3param iterations 0 optout yes salt-length 0;
};
"""
ZONES = ["nsec.example", "nsec3.example"]


class Failed(Exception):
    """A measurement that is worth nothing, and why."""


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **more).stdout


class Site:
    """Zones, keys and SKRs; the zones signed as files for the peers, and unsigned for us. It begins with these zones, and queries for them."""

    def __init__(self, folder, zones=tuple(ZONES)):
        self.folder, self.zones = folder, {}
        for name in ("state/keys", "state/inbox", "ksk", "nsd", "knot"):
            os.makedirs(self.path(name), 0o750)
        self.write("named.conf", POLICIES)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
            "-keyout", self.path("key.pem"), "-out", self.path("cert.pem"), stderr=subprocess.DEVNULL)
        for zone in zones:
            self.add(zone, zone.split(".")[0], self.zone_text(zone, NAMES))
            self.sign(zone)
        if zones:
            self.queries()

    def add(self, zone, policy, text):
        """Makes keys, SKR and trust anchor of a zone, and its unsigned file."""
        common = ["-k", policy, "-l", self.path("named.conf")]
        run("ksr-gen", *common, "-o", "-K", self.path("ksk"), "-i", "now-2d", "-e", "+1y", "keygen", zone)
        run("ksr-gen", *common, "-K", self.path("state/keys"), "-i", "now-2d", "-e", "+1y", "keygen", zone)
        ksr = run("ksr-gen", *common, "-K", self.path("state/keys"), "-i", "now-2d", "-e", "+30d", "request", zone)
        skr = run("ksr-gen", *common, "-K", self.path("ksk"), "-f", self.write(zone + ".ksr", ksr), "-e", "+30d", "sign", zone)
        self.write(zone + ".skr", skr)
        key, = glob.glob(self.path(f"ksk/K{zone}.*.key"))
        anchor = next(line.strip() for line in open(key) if not line.startswith(";"))
        self.write(zone + ".anchor", anchor + "\n")
        self.write(zone, text)
        self.zones[zone] = f'[[zone]]\nname = "{zone}"\npolicy = "{policy}"\nfile = "{self.path(zone)}"\ntrust-anchors = ["{anchor}"]\n'

    def sign(self, zone):
        """Signs a zone as a file for the peers."""
        run("offline-ksk", "sign-zone", "--zone", zone, "--skr", self.path(zone + ".skr"), "--trust-anchor", self.path(zone + ".anchor"),
            "--key-directory", self.path("state/keys"), "--policy-file", self.path("named.conf"), "--policy", zone.split(".")[0],
            "-o", self.path(zone + ".signed"), self.path(zone))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def zone_text(self, zone, names, serial=1):
        lines = [f"$ORIGIN {zone}.\n$TTL 3600\n@ SOA ns1 hostmaster {serial} 7200 900 1209600 600\n@ NS ns1\nns1 A 192.0.2.1"]
        for n in range(names):
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
    """A server at work on these cores, or on all."""

    def __init__(self, name, port, command, tls=None, zones=tuple(ZONES), cores="0"):
        self.name, self.port, self.tls, self.zones, self.checks = name, port, tls, zones, name != "echo"
        pinned = ["taskset", "-c", cores] if cores else []
        self.process = subprocess.Popen([*pinned, *command], stdout=subprocess.DEVNULL, stderr=open(f"{sys.argv[1]}/{name}.log", "w"))

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

    def ask(self, zone):
        return ask_soa(self.port, zone)

    def answers(self, zone):
        said = self.ask(zone)
        return said is not None and (not self.checks or said[0] == 0 and said[1] > 0)

    def wait(self):
        for zone in self.zones:
            self.wait_for("does not answer", lambda: self.answers(zone))

    def wait_for(self, what, done, pause=0.1):
        deadline = time.monotonic() + 300
        while not done():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{self.name} {what}: " + open(f"{sys.argv[1]}/{self.name}.log").read()[-2000:])
            time.sleep(pause)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def configuration(site, zones, port, tls=None, more=""):
    """The configuration of our server with these zones and tables, as a file."""
    encrypted = f'tls-listen = ["127.0.0.1:{tls}"]\ntls-certificate = "{site.path("cert.pem")}"\ntls-key = "{site.path("key.pem")}"\n' if tls else ""
    text = (f'version = 1\nstate-dir = "{site.path("state")}"\nnamed-conf = "{site.path("named.conf")}"\n[ksr]\nenabled = false\n'
            f'[signer]\nlisten = ["127.0.0.1:{port}"]\n{encrypted}' + "".join(site.zones[zone] for zone in zones) + more)
    site.write("offline-ksk.new", text)
    os.rename(site.path("offline-ksk.new"), site.path("offline-ksk.toml"))
    return site.path("offline-ksk.toml")


def drop(site, zones):
    """Puts the SKRs of these zones into the inbox of our server, but those that were put there before."""
    for zone in zones:
        if os.path.exists(site.path(zone + ".skr")):
            # As a file that was brought here: one that was written just now may still grow.
            an_hour_ago = time.time() - 3600
            os.utime(site.path(zone + ".skr"), (an_hour_ago, an_hour_ago))
            os.rename(site.path(zone + ".skr"), site.path(f"state/inbox/{zone}.skr"))


def ours(site, zones=tuple(ZONES), cores="0"):
    port, tls = free_port(), free_port()
    config = configuration(site, zones, port, tls)
    drop(site, zones)
    return Server("ours", port, ["offline-ksk", "serve", "-c", config], tls, zones, cores)


def nsd(site, zones=tuple(ZONES), workers=1):
    port, tls, folder = free_port(), free_port(), site.path("nsd")
    files = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{site.path(zone)}.signed"\n' for zone in zones)
    site.write("nsd/nsd.conf",
               f'server:\n  ip-address: 127.0.0.1@{port}\n  ip-address: 127.0.0.1@{tls}\n  tls-port: {tls}\n  tls-service-pem: "{site.path("cert.pem")}"\n'
               f'  tls-service-key: "{site.path("key.pem")}"\n  server-count: {workers}\n  rrl-ratelimit: 0\n  minimal-responses: yes\n  username: ""\n'
               f'  reuseport: {"yes" if workers > 1 else "no"}\n  chroot: ""\n  zonesdir: ""\n  database: ""\n  pidfile: ""\n  xfrdfile: ""\n  zonelistfile: "{folder}/zone.list"\n'
               f'  xfrdir: "{folder}"\nremote-control:\n  control-enable: no\n' + files)
    return Server("NSD", port, [f"{PEERS}/bin/nsd", "-d", "-c", f"{folder}/nsd.conf"], tls, zones, "0" if workers == 1 else "0,1")


def knot(site, zones=tuple(ZONES), workers=1):
    port, tls, folder = free_port(), free_port(), site.path("knot")
    files = "".join(f'  - domain: {zone}\n    file: "{site.path(zone)}.signed"\n' for zone in zones)
    site.write("knot/knot.conf",
               f'server:\n  listen: 127.0.0.1@{port}\n  listen-tls: 127.0.0.1@{tls}\n  cert-file: "{site.path("cert.pem")}"\n  key-file: "{site.path("key.pem")}"\n'
               f'  rundir: "{folder}"\n  udp-workers: {workers}\n  tcp-workers: {workers}\n  background-workers: 1\n'
               f'database:\n  storage: "{folder}"\nlog:\n  - target: stderr\n    any: warning\ntemplate:\n  - id: default\n'
               f'    storage: "{folder}"\n    zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\nzone:\n' + files)
    return Server("Knot", port, [f"{PEERS}/bin/knotd", "-c", f"{folder}/knot.conf"], tls, zones, "0" if workers == 1 else "0,1")
