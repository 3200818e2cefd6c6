# The servers that scripts/transfer-bench measures: primaries and secondaries of four products.
import base64, os, re, shutil, time

from loopback import free_port
from serve_site import PEERS, Server, configuration, drop
from transfer_client import A, KEY, NSEC_TYPE, SECRET, is_signed

TLD_ZONE, NSEC, NSEC3, CHAIN = "tld.example", "nsec.example", "nsec3.example", "chain.example"
SECRET_TEXT = base64.b64encode(SECRET).decode()
BIND_KEY = f'key "{KEY}" {{ algorithm hmac-sha256; secret "{SECRET_TEXT}"; }};\n'


class Source:
    """Where our server has a zone from, as keys of its table."""

    File = None

    @staticmethod
    def primary(port):
        return f'primaries = [{{ address = "127.0.0.1:{port}", key = "{KEY}" }}]\n'


def ours(site, zones, sources=None, updates=False, told=(), port=None, cores="0"):
    """Our server; zones come from their files, or from where `sources` says, and are sent to everybody on this host."""
    port = port or free_port()
    site.write("xfr.key", BIND_KEY)
    os.chmod(site.path("xfr.key"), 0o600)
    tables = dict(site.zones)
    for zone in zones:
        source = (sources or {}).get(zone)
        if source:
            site.zones[zone] = re.sub(r"file = .*\n", lambda _: source, tables[zone])
        elif updates:
            site.zones[zone] += f'update = [{{ key = "{KEY}", names = "zone" }}]\n'
    notify = ", ".join(f'{{ address = "127.0.0.1:{secondary}", key = "{KEY}" }}' for secondary in told)
    transfer = (f'[transfer]\nkey-files = ["{site.path("xfr.key")}"]\nmin-retry = "1s"\nnotify = [{notify}]\n'
                f'allow-transfer = [{{ address = "127.0.0.1" }}, {{ key = "{KEY}" }}]\n')
    config = configuration(site, zones, port, more=transfer)
    site.zones = tables
    drop(site, zones)
    return Server("ours", port, ["offline-ksk", "serve", "-c", config], None, zones, cores)


def place(site, name):
    """A folder for a server, which may have been used before."""
    os.makedirs(site.path(name), exist_ok=True)
    return site.path(name)


def zone_file(site, zone, is_signed):
    return site.path(zone) + (".signed" if is_signed else "")


def nsd(site, zones, is_signed=True, port=None, source=None):
    """NSD with these zones, or as a secondary of the server on port `source`."""
    port, folder = port or free_port(), place(site, "nsd-xfr")
    access = f'  provide-xfr: 127.0.0.1 NOKEY\n  provide-xfr: 127.0.0.1 {KEY}\n'
    origin = f'  request-xfr: 127.0.0.1@{source} {KEY}\n  allow-notify: 127.0.0.1 {KEY}\n' if source else ""
    file = lambda zone: f"{folder}/{zone}" if source else zone_file(site, zone, is_signed)
    text = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{file(zone)}"\n{origin}{access}' for zone in zones)
    site.write("nsd-xfr/nsd.conf",
               f'server:\n  ip-address: 127.0.0.1@{port}\n  server-count: 1\n  rrl-ratelimit: 0\n  minimal-responses: yes\n  username: ""\n  chroot: ""\n'
               f'  zonesdir: ""\n  database: ""\n  pidfile: ""\n  xfrdfile: ""\n  zonelistfile: "{folder}/zone.list"\n  xfrdir: "{folder}"\n'
               f'  xfrd-reload-timeout: 0\n  zonefiles-write: 0\nremote-control:\n  control-enable: no\n'
               f'key:\n  name: "{KEY}"\n  algorithm: hmac-sha256\n  secret: "{SECRET_TEXT}"\n' + text)
    return Server("NSD", port, [f"{PEERS}/bin/nsd", "-d", "-c", f"{folder}/nsd.conf"], None, zones, None if source else "0")


def knot_text(folder, port, zones, more):
    return (f'server:\n  listen: 127.0.0.1@{port}\n  rundir: "{folder}"\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n'
            f'database:\n  storage: "{folder}"\nlog:\n  - target: stderr\n    any: warning\n'
            f'key:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET_TEXT}\n'
            f'acl:\n  - id: open\n    address: 127.0.0.1\n    action: transfer\n  - id: signed\n    key: {KEY}\n    action: [transfer, notify, update]\n' + more)


def knot(site, zones, is_signed=True, port=None, source=None):
    """Knot with these zones, or as a secondary of the server on port `source`."""
    port, folder = port or free_port(), place(site, "knot-xfr")
    remote = f'remote:\n  - id: primary\n    address: 127.0.0.1@{source}\n    key: {KEY}\n' if source else ""
    keys = "    master: primary\n" if source else "    journal-content: none\n"
    file = lambda zone: f"{folder}/{zone}" if source else zone_file(site, zone, is_signed)
    template = f'template:\n  - id: default\n    storage: "{folder}"\n    acl: [open, signed]\n    zonefile-sync: -1\n    semantic-checks: off\n{keys}'
    text = "zone:\n" + "".join(f'  - domain: {zone}\n    file: "{file(zone)}"\n' for zone in zones)
    site.write("knot-xfr/knot.conf", knot_text(folder, port, zones, remote + template + text))
    return Server("Knot", port, [f"{PEERS}/bin/knotd", "-c", f"{folder}/knot.conf"], None, zones, None if source else "0")


def knot_signing(site, zones):
    """Knot with the same zones unsigned, which it signs by itself, and takes updates of."""
    port, folder = free_port(), place(site, "knot-signing")
    policy = "".join(f'  - id: {zone}\n    algorithm: ecdsap256sha256\n    nsec3: {"on" if "nsec3" in zone else "off"}\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n'
                     for zone in zones)
    template = f'template:\n  - id: default\n    storage: "{folder}"\n    acl: [open, signed]\n    zonefile-sync: -1\n    dnssec-signing: on\n'
    text = "zone:\n" + "".join(f'  - domain: {zone}\n    file: "{site.path(zone)}"\n    dnssec-policy: {zone}\n' for zone in zones)
    site.write("knot-signing/knot.conf", knot_text(folder, port, zones, "policy:\n" + policy + template + text))
    return Server("Knot", port, [f"{PEERS}/bin/knotd", "-c", f"{folder}/knot.conf"], None, zones, None)


def bind_text(folder, port, more):
    return (BIND_KEY + f'options {{ directory "{folder}"; pid-file none; session-keyfile none; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
            f'  recursion no; dnssec-validation no; minimal-responses yes; notify explicit; notify-delay 0; notify-rate 1000; serial-query-rate 1000;\n'
            f'  allow-transfer {{ any; }}; transfers-out 20; }};\ncontrols {{ }};\n' + more)


def bind(site, zones, is_signed=True, port=None, source=None, told=None):
    """BIND with these zones, which take updates and are told to the port `told`, or as a secondary of the server on port `source`."""
    name = "primary" if told else "BIND"
    port, folder = port or free_port(), place(site, name + "-xfr")
    told_to = f"also-notify {{ 127.0.0.1 port {told} key {KEY}; }};" if told else ""
    text = ""
    for zone in zones:
        if source:
            text += f'zone "{zone}" {{ type secondary; primaries {{ 127.0.0.1 port {source} key {KEY}; }}; allow-notify {{ key {KEY}; }}; file "{zone}"; }};\n'
        else:
            text += f'zone "{zone}" {{ type primary; file "{zone_file(site, zone, is_signed)}"; allow-update {{ key {KEY}; }}; {told_to} }};\n'
    site.write(f"{name}-xfr/named.conf", bind_text(folder, port, text))
    command = [f"{PEERS}/bin/named", "-f", "-n", "1", "-c", f"{folder}/named.conf"]
    return Server(name, port, command, None, zones, None if source or told else "0")


def bind_signing(site, zone, names):
    """BIND with the same zone unsigned, which it signs by itself and takes updates of; it is ready when all is signed."""
    port, folder = free_port(), place(site, "bind-signing")
    shutil.copy(site.path(zone), f"{folder}/zone")
    policy = 'dnssec-policy once { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; inline-signing no; };\n'
    text = (f'zone "{zone}" {{ type primary; file "zone"; dnssec-policy once; allow-update {{ key {KEY}; }}; sig-signing-nodes 1000; '
            'sig-signing-signatures 1000; };\n')
    site.write("bind-signing/named.conf", bind_text(folder, port, policy + text))
    server = Server("BIND", port, [f"{PEERS}/bin/named", "-f", "-c", f"{folder}/named.conf"], None, [zone], None)
    server.wait()
    server.wait_for("does not sign the zone", lambda: is_signed(port, f"h{names - 1:07}.{zone}", A) and is_signed(port, zone, NSEC_TYPE))
    serial = None
    while serial != (serial := server.ask(zone)[2]):
        time.sleep(3)
    return server
