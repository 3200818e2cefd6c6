# Measures transfers and updates; scripts/transfer-bench says what and calls this: transfer_bench.py FOLDER PART…
import os, re, shutil, statistics, struct, sys, time

import transfer_client as client
from bench_table import head, line, note, run_parts
from loopback import free_port
from serve_site import NAMES, Failed, Site
from transfer_site import CHAIN, NSEC, NSEC3, TLD_ZONE, Source, bind, bind_signing, knot, knot_signing, nsd, ours

RUNS = int(os.environ.get("RUNS", "3"))
TLD = int(os.environ.get("TLD", "1000000"))
CHANGES = int(os.environ.get("CHANGES", "20"))
RATE = int(os.environ.get("RATE", "1000"))
SECONDS = int(os.environ.get("SECONDS_EACH", "30"))


def stop(servers):
    for server in servers:
        server.stop()


def tld_text(names):
    """Delegations to two servers; every tenth has a DS record, every twentieth a server below it."""
    lines = [f"$ORIGIN {TLD_ZONE}.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 900 1209600 600\n@ NS ns1\nns1 A 192.0.2.1"]
    for i in range(names):
        lines.append(f"d{i:07} NS ns1.p{i % 997}.example.\nd{i:07} NS ns2.p{i % 997}.example.")
        if i % 10 == 0:
            lines.append(f"d{i:07} DS {i % 65536} 13 2 {i:064X}")
        if i % 20 == 1:
            lines.append(f"d{i:07} NS ns.d{i:07}\nns.d{i:07} A 192.0.2.{i % 250}")
    return "\n".join(lines) + "\n"


def add_tld(site):
    if TLD_ZONE not in site.zones:
        site.add(TLD_ZONE, "tld", tld_text(TLD))


class Resident:
    """Memory of a server above what it is now."""

    def __init__(self, server):
        self.server = server
        for pid in server.processes():
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")
        self.before = self.field("VmRSS")

    def field(self, name):
        texts = [open(f"/proc/{pid}/status").read() for pid in self.server.processes()]
        return sum(int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1]) for text in texts) / 1024

    def peak(self):
        """MiB at most since then, above what it was then."""
        return self.field("VmHWM") - self.before


def out(site):
    """AXFR of a signed zone: octets for each second of CPU, and memory."""
    add_tld(site)
    site.sign(TLD_ZONE)
    head(f"AXFR of {TLD} delegations, NSEC3 with opt-out", "clients", "MB", "ours", "NSD", "Knot", "BIND: MB a second of CPU", "ours / better of NSD and Knot",
         "memory above rest so far, MiB: ours", "NSD", "Knot", "BIND")
    rows = [(is_signed, clients) for is_signed in (True, False) for clients in (1, 10)]
    speeds, memory, sizes = {}, {}, {}
    cores = os.sched_getaffinity(0)
    # One after the other: the zone is large, and the client has a core of its own.
    for start in (ours, nsd, knot, bind):
        server = start(site, [TLD_ZONE])
        try:
            server.wait()
            # What the start has taken and given back.
            time.sleep(3)
            os.sched_setaffinity(0, {max(cores)})
            resident = Resident(server)
            for row in rows:
                for _ in range(RUNS):
                    cpu = server.cpu()
                    try:
                        octets = client.axfr(server.port, TLD_ZONE, *row)
                    except (OSError, RuntimeError) as error:
                        raise Failed(f"{server.name}, {row}: {error}: " + open(site.path(f"{server.name}.log")).read()[-2000:]) from error
                    cpu = server.cpu() - cpu
                    speeds.setdefault((server.name, row), []).append(octets / cpu / 1e6)
                    memory.setdefault((server.name, row), []).append(resident.peak())
                    sizes[server.name, row] = octets / row[1] / 1e6
        finally:
            os.sched_setaffinity(0, cores)
            stop([server])
    names = ("ours", "NSD", "Knot", "BIND")
    for is_signed, clients in rows:
        row = (is_signed, clients)
        speed = {name: statistics.median(speeds[name, row]) for name in names}
        above = {name: max(memory[name, row]) for name in names}
        ratio = speed["ours"] / max(speed["NSD"], speed["Knot"])
        what = "TSIG" if is_signed else "no TSIG"
        line(what, clients, ", ".join(f"{sizes[name, row]:.1f}" for name in names), *(f"{speed[name]:.0f}" for name in names), f"{ratio:.2f}",
             *(f"{above[name]:.1f}" for name in names))
        note(f"AXFR out, {what}, clients: {clients}; octets a second of CPU of the better of NSD and Knot", ratio, 1, is_least=True)
        note(f"memory above rest, {what}, clients: {clients}", above["ours"], 10, unit=" MiB", digits=1)


def incoming(site):
    """From the start to the first answer: the zone from a primary, and from a file."""
    add_tld(site)
    source = nsd(site, [TLD_ZONE], is_signed=False)
    try:
        source.wait()
        ways = {"file": Source.File, "AXFR": Source.primary(source.port)}
        # The SKR is accepted, and the system has the file in memory.
        first_answer(site, ways["file"])
        times = {way: [] for way in ways}
        for _ in range(RUNS):
            for way, origin in ways.items():
                times[way].append(first_answer(site, origin))
    finally:
        stop([source])
    ratio = statistics.median(a[0] / f[0] for a, f in zip(times["AXFR"], times["file"]))
    head(f"{TLD} delegations, from the start to the first answer, s", "file", "AXFR from NSD", "ratio", "CPU, s: file", "AXFR")
    line("wall time", *(f"{statistics.median(t[0] for t in times[way]):.2f}" for way in ways), f"{ratio:.2f}",
         *(f"{statistics.median(t[1] for t in times[way]):.2f}" for way in ways))
    note("AXFR in, to served, of the time of a file", ratio, 1.2)


def first_answer(site, origin):
    """Seconds, and seconds of CPU, from the start of our server to its first answer; it knows nothing of the zone but the SKR."""
    folder = site.path(f"state/zones/{TLD_ZONE}.")
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    begun = time.monotonic()
    server = ours(site, [TLD_ZONE], {TLD_ZONE: origin}, cores=None)
    try:
        server.wait_for("does not answer", lambda: server.answers(TLD_ZONE), pause=0.01)
        took = time.monotonic() - begun
        if "is served from disk" in open(site.path("ours.log")).read():
            raise Failed("ours found the version of the run before")
        # With the threads that have ended.
        ticks = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]
        return took, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    finally:
        stop([server])


def change(site):
    """One change: octets of its IXFR, and the time to the secondaries."""
    for zone, policy in ((NSEC, "nsec"), (NSEC3, "nsec3"), (CHAIN, "nsec")):
        if zone not in site.zones:
            site.add(zone, policy, site.zone_text(zone, NAMES))
    sizes(site)
    print(flush=True)
    delays(site)


def sizes(site):
    servers = [ours(site, [NSEC, NSEC3], updates=True, cores=None), knot_signing(site, [NSEC, NSEC3])]
    try:
        for server in servers:
            server.wait()
        head(f"octets of the IXFR of one change of {NAMES} names, P-256: median (largest)", "ours", "Knot", "ratio")
        for zone in (NSEC, NSEC3):
            found = {server.name: octets_of_changes(server, zone) for server in servers}
            for kind in found["ours"]:
                middle = {name: statistics.median(found[name][kind]) for name in found}
                line(f"{zone.split('.')[0].upper()}, {kind}", *(f"{middle[name]:.0f} ({max(found[name][kind])})" for name in ("ours", "Knot")),
                     f"{middle['ours'] / middle['Knot']:.2f}")
                note(f"octets of an IXFR, {zone.split('.')[0].upper()}, {kind}; of Knot's", middle["ours"] / middle["Knot"], 1)
    finally:
        stop(servers)


def octets_of_changes(server, zone):
    found = {"an address replaced": [], "a name added": [], "a name removed": []}
    for number in range(CHANGES):
        host, new = f"h{number * (NAMES // CHANGES):07}.{zone}", f"h{number * (NAMES // CHANGES):07}x.{zone}"
        address = struct.pack("!I", 172 << 24 | number)
        for kind, update in (("an address replaced", client.replaced(1, zone, host, address)), ("a name added", client.added(2, zone, new, address)),
                             ("a name removed", client.removed(3, zone, new))):
            found[kind].append(octets_of_change(server, zone, update))
    return found


def octets_of_change(server, zone, update):
    before = serial(server, zone)
    client.ask(server.port, update)
    server.wait_for("does not take an update", lambda: (server.ask(zone) or [0, 0, before])[2] != before, pause=0.01)
    return client.ixfr(server.port, zone, before)


def serial(server, zone):
    """The serial that a server answers."""
    server.wait_for("does not answer", lambda: server.answers(zone), pause=0.01)
    return (server.ask(zone) or server.ask(zone))[2]


def delays(site):
    """Milliseconds from an update to the secondaries."""
    starts = {"BIND": bind, "Knot": knot, "NSD": nsd}
    secondaries, port = {name: free_port() for name in starts}, free_port()
    primary = bind(site, [CHAIN], is_signed=False, told=port)
    servers = [primary]
    try:
        primary.wait()
        sources = {CHAIN: Source.primary(primary.port)}
        server = ours(site, [NSEC, CHAIN], sources, updates=True, told=list(secondaries.values()), port=port, cores=None)
        servers.append(server)
        server.wait()
        for name, start in starts.items():
            servers.append(start(site, [NSEC, CHAIN], port=secondaries[name], source=port))
            servers[-1].wait()
        head(f"milliseconds from an UPDATE to the answer of a secondary, {NAMES} names: median (largest)", *secondaries)
        for what, at, zone in (("the UPDATE is sent to ours", server, NSEC), ("the UPDATE is sent to BIND, which ours follows", primary, CHAIN)):
            found = {name: [] for name in secondaries}
            for number in range(CHANGES):
                for name, took in until_seen(at, zone, servers[2:], number).items():
                    found[name].append(took)
            line(what, *(f"{statistics.median(times):.0f} ({max(times):.0f})" for times in found.values()))
            for name, times in found.items():
                note(f"{what}; seen at {name}, median", statistics.median(times), 100, unit=" ms", digits=0)
    finally:
        stop(servers)


def until_seen(at, zone, secondaries, number):
    """Milliseconds from an update until each secondary answers with the new address."""
    # NSD waits a second between two reloads that it was not told to hurry with.
    time.sleep(1.2)
    name, address = f"h{number:07}.{zone}", struct.pack("!I", 173 << 24 | number)
    begun, found = time.monotonic(), {}
    client.ask(at.port, client.replaced(number, zone, name, address))
    while len(found) < len(secondaries):
        for server in secondaries:
            if server.name not in found and client.has_address(server.port, name, address):
                found[server.name] = (time.monotonic() - begun) * 1000
        if time.monotonic() > begun + 20:
            raise Failed(f"{zone}: only {list(found)} have a change after 20 s")
    return found


def updates(site):
    """Updates at a fixed rate."""
    if NSEC not in site.zones:
        site.add(NSEC, "nsec", site.zone_text(NSEC, NAMES))
    head(f"{RATE} updates a second for {SECONDS} s by UDP, zone of {NAMES} names, NSEC", "answered", "refused or lost", "a second",
         "answer, ms: median", "p99", "largest", "seen, ms: median", "p99", "asked again")
    for start in (lambda: ours(site, [NSEC], updates=True, cores=None), lambda: bind_signing(site, NSEC, NAMES)):
        server = start()
        try:
            server.wait()
            stream = client.Stream(server.port, NSEC, RATE, SECONDS, "u")
            stream.run()
            answers, seen = stream.times(stream.answered), stream.times(stream.seen)
            if not answers or not seen:
                raise Failed(f"{server.name} answered {len(answers)} updates")
            at = lambda times, share: times[min(int(len(times) * share), len(times) - 1)]
            missing = stream.count - len(stream.seen)
            line(server.name, len(answers), missing, f"{stream.rate_reached():.0f}", *(f"{figure:.1f}" for figure in
                 (at(answers, 0.5), at(answers, 0.99), answers[-1], at(seen, 0.5), at(seen, 0.99))), stream.asked_again)
            if server.name == "ours":
                note("updates, answered and seen", len(stream.seen) / stream.count * 100, 100, is_least=True, unit=" %", digits=1)
                note("updates a second, until the last is answered", stream.rate_reached(), RATE * 0.99, is_least=True, digits=0)
                note("updates, p99 of the answer", at(answers, 0.99), 20, unit=" ms", digits=1)
                note("updates, p99 of the time until one is seen", at(seen, 0.99), 20, unit=" ms", digits=1)
        finally:
            stop([server])


PARTS = {"out": out, "in": incoming, "change": change, "updates": updates}


def main():
    parts = sys.argv[2:] or list(PARTS)
    if any(part not in PARTS for part in parts):
        sys.exit(f"there are the parts {', '.join(PARTS)}")
    site = Site(sys.argv[1], zones=())
    # In their order: `out` signs with the SKR that a server takes from its place at a start.
    in_order = [part for part in PARTS if part in parts]
    run_parts(in_order, lambda part: PARTS[part](site), (Failed, RuntimeError, OSError, TypeError, struct.error))


main()
