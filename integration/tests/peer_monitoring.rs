//! A real Prometheus and Alertmanager beside `offline-ksk serve`: alerts arrive, the heartbeat stops when Prometheus does, and every
//! query of the dashboards returns data.

#[path = "common/certificate.rs"]
mod certificate;
mod common;
#[path = "peer_monitoring/dns_tls.rs"]
mod dns_tls;
#[path = "peer_monitoring/site.rs"]
mod site;
#[path = "peer_monitoring/web_config.rs"]
mod web_config;
#[path = "peer_monitoring/webhook.rs"]
mod webhook;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use offline_ksk_integration::http_client::HttpServer;
use serde_json::Value;
use site::{DAY, Process, Site};
use webhook::Webhook;

/// Alertmanager repeats the heartbeat for so long after the death of Prometheus: four times the delay between two sends.
const AFTER_DEATH: Duration = Duration::from_secs(15);

/// Name and query of every panel: instant ones and ranges alike are asked for now.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/grafana/dashboards/offline-ksk");
    let mut queries = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the dashboards") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let query = target["expr"].as_str().expect("a query");
                let query =
                    query.replace("$__rate_interval", "10s").replace("$__range", "1m").replace("$zone", ".*");
                queries.push((panel["title"].as_str().expect("a title").to_owned(), query));
            }
        }
    }
    queries
}

/// What a query returns; an error says what Prometheus does.
fn ask(prometheus: &HttpServer, query: &str) -> Result<Vec<Value>, String> {
    let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    let answer = prometheus.get(&format!("/api/v1/query?query={encoded}")).map_err(|e| e.to_string())?;
    let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
    answer["data"]["result"].as_array().cloned().ok_or_else(|| answer.to_string())
}

/// What runs beside the daemon.
struct Monitoring {
    prometheus: HttpServer,
    alertmanager: String,
    prometheus_process: Process,
    _alertmanager_process: Process,
    webhook: Webhook,
}

impl Monitoring {
    /// `None` when the programs are not here.
    fn start(site: &Site) -> Option<Self> {
        let [prometheus, alertmanager] = ["prometheus", "prometheus-alertmanager"].map(common::of_system);
        let (mut prometheus, mut alertmanager) = (prometheus?, alertmanager?);
        let webhook = Webhook::start();
        let (port, alert_port) = (common::free_port(), common::free_port());
        site.write(
            "alertmanager.yml",
            &format!(
                "route:\n  receiver: ops\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 3s\n  repeat_interval: 1h\n  routes:\n\
                 \x20   - {{matchers: ['alertname=\"Watchdog\"'], receiver: ops, group_wait: 0s, group_interval: 3s, repeat_interval: 1s}}\n\
                 receivers:\n  - name: ops\n    webhook_configs: [{{url: '{}', send_resolved: false}}]\n",
                webhook.url()
            ),
        );
        site.write("rules.yml", &with_short_times(&site.stdout(&["rules"])));
        site.write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [rules.yml]\nalerting:\n  alertmanagers:\n\
                 \x20   - static_configs: [{{targets: ['127.0.0.1:{alert_port}']}}]\nscrape_configs:\n  - job_name: whatever\n\
                 \x20   static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
                site.metrics
            ),
        );
        let alertmanager_process = Process::spawn(
            alertmanager
                .arg(format!("--config.file={}", site.path("alertmanager.yml").display()))
                .arg(format!("--storage.path={}", site.path("alertmanager").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{alert_port}"))
                .arg("--cluster.listen-address="),
            &site.path("alertmanager.log"),
        );
        let prometheus_process = Process::spawn(
            prometheus
                .arg(format!("--config.file={}", site.path("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--rules.alert.resend-delay=2s"),
            &site.path("prometheus.log"),
        );
        let alertmanager = format!("http://127.0.0.1:{alert_port}");
        let prometheus = HttpServer::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let server = HttpServer::parse(&alertmanager).expect("a URL");
        common::wait_for("Alertmanager", Duration::from_secs(30), || server.get("/-/ready").ok());
        common::wait_for("Prometheus", Duration::from_secs(30), || prometheus.get("/-/ready").ok());
        let _alertmanager_process = alertmanager_process;
        Some(Self { prometheus, alertmanager, prometheus_process, _alertmanager_process, webhook })
    }
}

/// The rules with every `for` cut to a second.
fn with_short_times(rules: &str) -> String {
    let short = |line: &str| match line.trim_start().strip_prefix("for: ") {
        Some(_) => format!("{}for: 1s\n", &line[..line.len() - line.trim_start().len()]),
        None => format!("{line}\n"),
    };
    rules.lines().map(short).collect()
}

/// Every query of every dashboard, until each returns data.
fn dashboards_return_data(prometheus: &HttpServer) {
    let queries = queries();
    assert!(queries.len() > 50, "{} queries", queries.len());
    let mut open: Vec<&(String, String)> = queries.iter().collect();
    let deadline = Instant::now() + Duration::from_secs(45);
    let mut last = Vec::new();
    while !open.is_empty() {
        assert!(Instant::now() < deadline, "no data for:\n{}", last.join("\n"));
        last.clear();
        open.retain(|(title, query)| match ask(prometheus, query) {
            Ok(result) if !result.is_empty() => false,
            Ok(_) => {
                last.push(format!("{title}: {query}: no data"));
                true
            }
            Err(error) => panic!("{title}: {query}: {error}"),
        });
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn alerts_arrive_the_heartbeat_stops_with_prometheus_and_dashboards_have_data() {
    let started = Instant::now();
    let Some(_) = common::of_system("prometheus") else { return };
    let mut site = Site::new();
    site.drop_skr("long", 8, 14 * DAY);
    site.start();
    let Some(mut monitoring) = Monitoring::start(&site) else { return };
    site.wait_until_served();
    site.drop_text("junk", "this is no SKR\n");
    dashboards_return_data(&monitoring.prometheus);
    assert_eq!(ask(&monitoring.prometheus, "ALERTS{alertname=\"OfflineKskCoverageWarning\"}"), Ok(vec![]));
    eprintln!("{:?}: every dashboard has data", started.elapsed());

    // The way of the alerts, with the command.
    let alert_test = |arguments: &[&str]| {
        let url = monitoring.alertmanager.as_str();
        site.run(&[&["alert-test", "--alertmanager", url, "--wait", "20s"][..], arguments].concat())
    };
    let output = alert_test(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", common::text(&output));
    monitoring.webhook.wait_for("OfflineKskTest", Duration::from_secs(10));
    if let Some(mut amtool) = common::of_system("amtool") {
        let silence =
            ["silence", "add", "alertname=OfflineKskTest", "--comment=maintenance", "--author=a colleague"];
        common::run(amtool.arg(format!("--alertmanager.url={}", monitoring.alertmanager)).args(silence));
        let output = alert_test(&[]);
        let said = common::text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("a colleague") && said.contains("maintenance"), "{said}");
    }
    let nobody =
        site.run(&["alert-test", "--alertmanager", &format!("http://127.0.0.1:{}", common::free_port())]);
    assert_eq!(nobody.status.code(), Some(2), "{}", common::text(&nobody));
    eprintln!("{:?}: alert-test", started.elapsed());

    // The coverage is shortened to ten days.
    site.stop();
    std::fs::remove_dir_all(site.path("state/accepted")).expect("the store");
    site.drop_skr("short", 1, 11 * DAY);
    site.start();
    monitoring.webhook.wait_for("OfflineKskCoverageWarning", Duration::from_secs(40));
    eprintln!("{:?}: the alert of the coverage has arrived", started.elapsed());

    // The heartbeat comes again and again, and stops when Prometheus is dead.
    let before = monitoring.webhook.count("Watchdog");
    common::wait_for("two more heartbeats", Duration::from_secs(20), || {
        (monitoring.webhook.count("Watchdog") >= before + 2).then_some(())
    });
    monitoring.prometheus_process.kill();
    std::thread::sleep(AFTER_DEATH);
    let last = monitoring.webhook.count("Watchdog");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(monitoring.webhook.count("Watchdog"), last, "the heartbeat has stopped");
    eprintln!("{:?}: the heartbeat has stopped", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(120), "under two minutes");
}

#[test]
fn shipped_alertmanager_configuration_reads_and_routes_as_the_manual_says() {
    let Some(_) = common::of_system("amtool") else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../metrics/alertmanager/alertmanager.example.yml");
    let amtool = || -> Command { common::of_system("amtool").expect("was there") };
    common::run(amtool().arg("check-config").arg(&file));
    for (labels, receiver) in [
        (&["alertname=Watchdog", "severity=none"][..], "heartbeat"),
        (&["alertname=OfflineKskDown", "severity=critical"], "pager"),
        (&["alertname=OfflineKskCoverageWarning", "severity=warning"], "mail"),
        (&["alertname=OfflineKskCoverageInfo", "severity=info"], "mail"),
        (&["alertname=OfflineKskTest", "severity=critical", "test=true"], "pager"),
    ] {
        let mut command = amtool();
        command.args(["config", "routes", "test"]).arg(format!("--config.file={}", file.display()));
        common::run(command.arg(format!("--verify.receivers={receiver}")).args(labels));
    }
}
