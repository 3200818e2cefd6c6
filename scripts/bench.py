# Measures one part of scripts/bench, which says what and calls this: bench.py FOLDER PART
import glob, json, os, re, shutil, signal, socket, statistics, struct, subprocess, sys, time

from loopback import free_port

FOLDER, PART = sys.argv[1:3]
RUNS = int(os.environ.get("RUNS", "5"))
NAMES = int(os.environ.get("NAMES", "100000"))
TLD = int(os.environ.get("TLD", "1000000"))
CHANGED = int(os.environ.get("CHANGED", "100"))
TOKEN = int(os.environ.get("TOKEN", "4000"))
# The peers that are given a number of threads get two; what takes all cores by itself gets as many.
os.environ["RAYON_NUM_THREADS"] = "2"
PEERS = os.environ["OFFLINE_KSK_PEERS"]
# Longest time for which a daemon is waited for, in seconds.
LIMIT = 1800
POLICY = """{store}dnssec-policy bench {{
  offline-ksk yes;
  keys {{ ksk lifetime unlimited algorithm ecdsap256sha256; zsk {key_store}lifetime {life} algorithm ecdsap256sha256; }};
  {denial}
}};
"""


class Run:
    """What one run of a program took: seconds of wall time, of all its processors, and its peak memory in MiB."""

    def __init__(self, seconds, cpu, peak):
        self.seconds, self.cpu, self.peak = seconds, cpu, peak


def execute(command, output=None, env=None):
    """Runs a command, which must end well, and measures it."""
    start = time.perf_counter()
    with open(output or "/dev/null", "w") as out, open("errors", "w") as errors:
        process = subprocess.Popen(command, shell=isinstance(command, str), stdout=out, stderr=errors, env=env)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: exit code {process.returncode}\n{open('errors').read()[-2000:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def bare(program, *words):
    """A program that prints the seconds that its loop took."""
    run = execute([os.environ[program], *map(str, words)], "bare.out")
    return Run(float(open("bare.out").read()), run.cpu, run.peak)


def measure(commands, warm=True):
    """Runs the commands in turn, so that all see the same machine; gives the runs of each."""
    if warm:
        for command in commands.values():
            command()
    runs = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            runs[name].append(command())
    return runs


def median(values):
    return statistics.median(values)


# On a machine that does other work too the ratio of the processor times says more than that of the wall times.
HEAD = ["work", "ours, s", "CPU, s", "peak, MiB", "beside", "its s", "its CPU, s", "its peak, MiB", "ratio", "ratio of CPU", "goal"]


def line(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head():
    line(*HEAD)
    print("|" + "---|" * len(HEAD), flush=True)


def compare(work, ours, peers, goals, warm=True):
    """One row for each peer; `goals` says what the ratio to it and our peak should be."""
    runs = measure({"ours": ours, **peers}, warm)
    own = runs.pop("ours")
    for (name, its), goal in zip(runs.items(), goals):
        ratios = [f"{median(getattr(a, field) / max(getattr(b, field), 0.001) for a, b in zip(own, its)):.2f}" for field in ("seconds", "cpu")]
        line(work, *figures(own), name, *figures(its), *ratios, goal)


def figures(runs):
    return f"{median(r.seconds for r in runs):.2f}", f"{median(r.cpu for r in runs):.2f}", f"{median(r.peak for r in runs):.0f}"


def text_of(command):
    return subprocess.run(command, shell=True, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


class Keys:
    """A KSK, ZSKs, an SKR of 20 days and the trust anchor of a zone."""

    def __init__(self, zone, denial="", store="", key_store="", life="unlimited"):
        self.zone = zone
        for folder in ("ksk", "zsk"):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)
        with open("named.conf", "w") as file:
            file.write(POLICY.format(store=store, key_store=key_store, denial=denial, life=life))
        self.common = "-k bench -l named.conf"
        text_of(f"ksr-gen {self.common} -o -K ksk -i now-2d -e +10y keygen {zone}")
        text_of(f"ksr-gen {self.common} -K zsk -i now-2d -e +10y keygen {zone}")
        text_of(f"ksr-gen {self.common} -K zsk -i now-2d -e +20d request {zone} >now.ksr")
        text_of(f"ksr-gen {self.common} -K ksk -f now.ksr -e +20d sign {zone} >now.skr")
        text_of("dnssec-dsfromkey -2 ksk/K*.key >anchor")
        self.ksk = glob.glob("ksk/K*.key")[0]
        self.zsks = sorted(path[:-len(".key")] for path in glob.glob("zsk/K*.key"))

    def sign_zone(self, file, *options):
        return ["offline-ksk", "sign-zone", "--zone", self.zone, "--skr", "now.skr", "--trust-anchor", "anchor", "--key-directory", "zsk",
                "--output", "ours.signed", *options, file]

    def for_bind(self, file):
        """The zone file with the keys that dnssec-signzone wants in it."""
        with open("bind.zone", "w") as out:
            for part in (file, self.ksk, self.zsks[0] + ".key"):
                out.write(open(part).read())
        return "bind.zone"


def flat_zone(path, names):
    with open(path, "w") as out:
        out.write("$ORIGIN bench.example.\n$TTL 3600\n@ SOA ns1 hostmaster 1 7200 900 1209600 600\n@ NS ns1\nns1 A 192.0.2.1\n")
        for i in range(names):
            out.write(f"h{i:07} A 10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}\nh{i:07} AAAA 2001:db8::{i >> 16:x}:{i & 65535:x}\n")
            if i % 2:
                out.write(f'h{i:07} TXT "host number {i}"\n')


def tld_zone(path, names, changed=0):
    """Delegations to two servers; every tenth has a DS record, every twentieth a server below it. The first DS records may differ."""
    with open(path, "w", 1 << 20) as out:
        out.write("$ORIGIN tld.\n$TTL 3600\n@ SOA ns1.nic hostmaster.nic 1 7200 900 1209600 600\n@ NS ns1.nic\nns1.nic A 192.0.2.1\n")
        for i in range(names):
            out.write(f"d{i:07} NS ns1.p{i % 997}.example.\nd{i:07} NS ns2.p{i % 997}.example.\n")
            if i % 10 == 0:
                out.write(f"d{i:07} DS {i % 65536} 13 2 {i + (1 << 40 if i // 10 < changed else 0):064X}\n")
            if i % 20 == 1:
                out.write(f"d{i:07} NS ns.d{i:07}\nns.d{i:07} A 192.0.2.{i % 250}\n")


def signing():
    keys = Keys("bench.example")
    flat_zone("flat.zone", NAMES)
    bind = keys.for_bind("flat.zone")
    head()
    for kind, options, theirs, goals in (("NSEC", [], "", ("≤ 0.40; 90 MiB", "≤ 1.10")), ("NSEC3", ["--nsec3"], "-3 - -H 0", ("≤ 0.42; 100 MiB", ""))):
        execute(keys.sign_zone("flat.zone", "--json", *options), "summary")
        made = json.load(open("summary"))["signatures_made"]
        compare(
            f"flat zone, {NAMES} names, {kind}, {made} signatures",
            lambda: execute(keys.sign_zone("flat.zone", *options)),
            {
                "`dnssec-signzone -P -n 2`": lambda: execute(
                    f"exec dnssec-signzone -P -n 2 {theirs} -o bench.example -f bind.signed -k {keys.ksk} {bind} {keys.zsks[0]}"),
                "ring alone, 2 threads": lambda: bare("BARE", made, 2),
            },
            goals)
        execute("exec dnssec-verify -o bench.example ours.signed")


def kzonesign(kind):
    """A command line of kzonesign for the TLD; its keys are made at the first run."""
    folder = f"knot-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(f"{folder}/db")
    os.makedirs(f"{folder}/out")
    with open(f"{folder}/conf", "w") as file:
        file.write(f"""database:
    storage: "{os.path.abspath(folder)}/db"
policy:
  - id: p
    algorithm: ecdsap256sha256
    signing-threads: 2
    nsec3: {"on" if kind == "NSEC3" else "off"}
    nsec3-iterations: 0
    nsec3-salt-length: 0
    nsec3-opt-out: {"on" if kind == "NSEC3" else "off"}
zone:
  - domain: tld.
    file: "{os.path.abspath("tld.zone")}"
    dnssec-signing: on
    dnssec-policy: p
    semantic-checks: off
    journal-content: none
""")
    return f"exec kzonesign -c {folder}/conf -o {folder}/out tld."


def tld():
    keys = Keys("tld")
    tld_zone("tld.zone", TLD)
    head()
    for kind, options, goal in (("NSEC3", ["--nsec3", "--opt-out"], "≤ 0.40; 300 MiB"), ("NSEC", [], "≤ 0.33; 370 MiB")):
        theirs = kzonesign(kind)
        execute(keys.sign_zone("tld.zone", "--json", *options), "summary")
        made = json.load(open("summary"))["signatures_made"]
        work = f"TLD, {TLD} names, {kind}{' with opt-out' if options else ''}, {made} signatures"
        compare(work, lambda: execute(keys.sign_zone("tld.zone", *options)), {"`kzonesign`, 2 threads": lambda: execute(theirs)}, [goal], warm=False)


def verify():
    keys = Keys("bench.example")
    flat_zone("flat.zone", NAMES)
    head()
    for kind, options in (("NSEC", []), ("NSEC3", ["--nsec3"])):
        execute(keys.sign_zone("flat.zone", *options))
        compare(
            f"verify-zone, {NAMES} names, {kind}",
            lambda: execute(["offline-ksk", "verify-zone", "--trust-anchor", "anchor", "ours.signed"]),
            {
                "`ldns-verify-zone`": lambda: execute("exec ldns-verify-zone ours.signed"),
                "`dnssec-verify`": lambda: execute("exec dnssec-verify -o bench.example ours.signed"),
            },
            ["≤ 0.50", "≤ 0.50"])


class Server:
    """offline-ksk serve with one zone, whose SKR waits in the inbox."""

    def __init__(self, keys, file):
        self.keys, self.port = keys, free_port()
        shutil.rmtree("state", ignore_errors=True)
        for folder in ("state/inbox", "state/keys"):
            os.makedirs(folder, 0o750)
        for path in glob.glob("zsk/K*"):
            shutil.copy2(path, "state/keys")
        shutil.copy("now.skr", "state/now.skr")
        os.rename("state/now.skr", "state/inbox/now.skr")
        anchor = next(l for l in open(keys.ksk) if not l.startswith(";")).strip()
        with open("offline-ksk.toml", "w") as out:
            out.write(f'version = 1\nstate-dir = "state"\nnamed-conf = "named.conf"\n[loader]\ncoverage-info = "9d"\ncoverage-warning = "6d"\n'
                      f'[signer]\nlisten = ["127.0.0.1:{self.port}"]\n'
                      f'[[zone]]\nname = "{keys.zone}"\npolicy = "bench"\nfile = "{file}"\ntrust-anchors = ["{anchor}"]\n')

    def start(self):
        self.began = time.perf_counter()
        log = open("serve.log", "w")
        self.process = subprocess.Popen(["offline-ksk", "serve", "-c", "offline-ksk.toml"], stdout=log, stderr=log)

    def peak(self):
        return next(int(l.split()[1]) for l in open(f"/proc/{self.process.pid}/status") if l.startswith("VmHWM")) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT)

    def ask(self, name, rtype):
        """An answer with signatures, or nothing."""
        labels = b"".join(bytes([len(l)]) + l.encode() for l in name.rstrip(".").split(".")) + b"\0"
        query = struct.pack(">6H", 1, 0, 1, 0, 0, 1) + labels + struct.pack(">2H", rtype, 1) + b"\0" + struct.pack(">2HIH", 41, 1232, 0x8000, 0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.5)
            s.connect(("127.0.0.1", self.port))
            try:
                s.send(query)
                answer = s.recv(65535)
            except OSError:
                return None
        flags, _, answers = struct.unpack(">3H", answer[2:8])
        # The RRset and its RRSIG.
        return answer if flags & 15 == 0 and answers >= 2 else None

    def until(self, condition, since):
        while not condition():
            if self.process.poll() is not None or time.perf_counter() - since > LIMIT:
                sys.exit("serve: no answer\n" + open("serve.log").read()[-2000:])
            time.sleep(0.001)
        return time.perf_counter() - since

    def validate(self, name, rtype):
        """Has delv validate an answer from the KSK on."""
        key = next(l for l in open(self.keys.ksk) if not l.startswith(";")).split("DNSKEY", 1)[1].split()
        with open("delv.anchor", "w") as out:
            out.write(f'trust-anchors {{ "{self.keys.zone}." static-key {" ".join(key[:3])} "{"".join(key[3:])}"; }};\n')
        said = text_of(f"delv @127.0.0.1 -p {self.port} -a delv.anchor +root={self.keys.zone} {name} {rtype}")
        if "; fully validated" not in said:
            sys.exit(f"delv does not validate {name} {rtype}:\n{said}")


DS, FIRST = 43, "d0000000.tld"


def signed_tld(names, denial):
    keys = Keys("tld", denial=denial)
    tld_zone("tld.zone", names)
    server = Server(keys, "tld.zone")
    server.start()
    server.until(lambda: server.ask(FIRST, DS), server.began)
    return server


DENIALS = (("NSEC3 with opt-out", "nsec3param iterations 0 optout yes salt-length 0;"), ("NSEC", ""))


def change():
    line("work", "zone file, MB", "rename to first answer, s (median)", "MB/s of the file", "peak, MiB")
    print("|---|---|---|---|---|", flush=True)
    for kind, denial in DENIALS:
        for names in sorted({min(10000, TLD), TLD}):
            server = signed_tld(names, denial)
            times, size = [], 0
            for number in range(RUNS):
                tld_zone("new.zone", names, CHANGED if number % 2 == 0 else 0)
                size = os.path.getsize("new.zone") / 1e6
                before = server.ask(FIRST, DS)
                wanted = f"{(1 << 40) if number % 2 == 0 else 0:064x}"
                start = time.perf_counter()
                os.rename("new.zone", "tld.zone")
                times.append(server.until(lambda: bytes.fromhex(wanted) in (server.ask(FIRST, DS) or b""), start))
                if before == server.ask(FIRST, DS):
                    sys.exit("the answer has not changed")
            server.validate(FIRST, "DS")
            line(f"{min(CHANGED, names // 10)} changed names of {names}, {kind}", f"{size:.1f}", f"{median(times):.2f}", f"{size / median(times):.0f}", f"{server.peak():.0f}")
            server.stop()


def restart():
    line("work", "start to first signed answer, s (median)", "peak, MiB")
    print("|---|---|---|", flush=True)
    for kind, denial in DENIALS:
        server = signed_tld(TLD, denial)
        server.stop()
        times = []
        for _ in range(RUNS):
            server.start()
            times.append(server.until(lambda: server.ask(FIRST, DS), server.began))
            server.validate(FIRST, "DS")
            peak = server.peak()
            server.stop()
        line(f"restart, {TLD} names, {kind}; validated by delv", f"{median(times):.2f}", f"{peak:.0f}")


def token():
    folders = ["/usr/lib/softhsm", "/usr/lib64/softhsm", *glob.glob("/usr/lib/*/softhsm")]
    module = next(path for path in (f"{folder}/libsofthsm2.so" for folder in folders) if os.path.exists(path))
    os.mkdir("tokens")
    with open("softhsm2.conf", "w") as out:
        out.write(f"directories.tokendir = {os.path.abspath('tokens')}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = os.path.abspath("softhsm2.conf")
    os.environ["PKCS11_MODULE"] = module
    text_of("softhsm2-util --init-token --free --label bench --pin 471108 --so-pin 12345678")
    with open(os.open("pin", os.O_CREAT | os.O_WRONLY, 0o600), "w") as out:
        out.write("471108")
    store = f'key-store "hsm" {{ pkcs11-uri "pkcs11:token=bench;pin-source={os.path.abspath("pin")}"; }};\n'
    keys = Keys("bench.example", store=store, key_store="key-store hsm ")
    flat_zone("flat.zone", TOKEN)
    execute(keys.sign_zone("flat.zone", "--json"), "summary")
    made = json.load(open("summary"))["signatures_made"]
    head()
    compare(f"ZSK in SoftHSM, {TOKEN} names, {made} signatures, each verified", lambda: execute(keys.sign_zone("flat.zone")),
            {f"C_Sign in a loop, {n} sessions": lambda n=n: bare("BARE_TOKEN", module, "471108", made, n) for n in (1, 2, 8)}, ["", "", ""])


def ceremony():
    keys = Keys("bench.example", life="P3M")
    text_of(f"ksr-gen {keys.common} -K zsk -i now-2d -e +10y request bench.example >ten-years.ksr")
    sign = f"{keys.common} -K ksk -f ten-years.ksr -e +10y sign bench.example"
    head()
    compare("check, prove and sign a ten-year KSR", lambda: execute(f"exec ksr-gen {sign}", "ours.skr"),
            {"`dnssec-ksr sign`": lambda: execute(f"exec dnssec-ksr {sign}", "bind.skr")}, [""])
    check = "exec taskset -c 0 skr-loader check --zone bench.example --trust-anchor anchor ours.skr"
    own = measure({"ours": lambda: execute(check)})["ours"]
    signatures = len(re.findall("RRSIG", open("ours.skr").read()))
    line(f"read and verify that SKR on one core, {signatures} signatures", *figures(own), "", "", "", "", "", "", "0.150 s")


os.chdir(FOLDER)
{"ceremony": ceremony, "signing": signing, "tld": tld, "verify": verify, "change": change, "restart": restart, "token": token}[PART]()
